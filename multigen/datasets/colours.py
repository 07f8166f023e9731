"""Turning a sprite's main hue to another one that has a name."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PillowImage

# Degrees on the HSV circle.
HUES = {"red": 0, "orange": 30, "yellow": 52, "green": 120, "blue": 215, "purple": 275, "pink": 325}
_OTHER_COLOURS = ("black", "white", "brown", "grey")
_AGREEMENT = 0.9  # length of the mean hue vector from which on a sprite has one main hue
_COLOURED = 0.4  # share of a sprite's area, weighted by saturation, from which on it counts as coloured


class Palette:
    """Remembers each sprite's main hue (degrees; None without one) by a key."""

    def __init__(self) -> None:
        self._main: dict[str, float | None] = {}

    def colours(self, key: str, sprite: PillowImage.Image, name: str) -> tuple[str, ...]:
        """The colours that the sprite can be turned to; none if it has no main hue or its name is but a colour."""
        if key not in self._main:
            self._main[key] = main_hue(sprite) if _bare(name) else None
        return () if self._main[key] is None else tuple(HUES)

    def turn(
        self, key: str, sprite: PillowImage.Image, name: str, colour: str
    ) -> tuple[PillowImage.Image, str]:
        """The sprite in one of its `colours`, and "<colour> <name>"."""
        if colour not in self.colours(key, sprite, name):
            raise ValueError(f"{name}: cannot be made {colour}")
        hue = self._main[key]
        assert hue is not None
        return rotate(sprite, HUES[colour] - hue), said(colour, name)


def said(colour: str, name: str) -> str:
    """A name with another colour: "green apple" in blue is "blue apple"."""
    return " ".join([colour, *_bare(name)])


def _bare(name: str) -> list[str]:
    return [w for w in name.split() if w not in HUES and w not in _OTHER_COLOURS]


def main_hue(sprite: PillowImage.Image) -> float | None:
    """Mean hue (degrees) of an RGBa sprite weighted by saturation, value and alpha; None where hues disagree."""
    straight = sprite.convert("RGBA")
    hsv = np.asarray(straight.convert("RGB").convert("HSV"), dtype=np.float64)
    alpha = np.asarray(straight.getchannel("A"), dtype=np.float64) / 255
    weight = hsv[..., 1] / 255 * hsv[..., 2] / 255 * alpha
    if weight.sum() < _COLOURED * alpha.sum():
        return None
    angle = hsv[..., 0] * (2 * math.pi / 256)
    mean = (weight * np.exp(1j * angle)).sum() / weight.sum()
    return math.degrees(np.angle(mean)) % 360 if abs(mean) >= _AGREEMENT else None


def rotate(sprite: PillowImage.Image, degrees: float) -> PillowImage.Image:
    """An RGBa sprite with all hues turned by `degrees`."""
    straight = sprite.convert("RGBA")
    hue, saturation, value = straight.convert("RGB").convert("HSV").split()
    shift = round(degrees * 256 / 360)
    turned = hue.point([(i + shift) % 256 for i in range(256)])
    out = PillowImage.merge("HSV", (turned, saturation, value)).convert("RGB").convert("RGBA")
    out.putalpha(straight.getchannel("A"))
    return out.convert("RGBa")
