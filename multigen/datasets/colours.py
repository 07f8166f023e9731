"""Turning a sprite's main hue to another one that has a name."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

# Degrees on the HSV circle.
HUES = {"red": 0, "orange": 30, "yellow": 52, "green": 120, "blue": 215, "purple": 275, "pink": 325}
_OTHER_COLOURS = ("black", "white", "brown", "grey")
_AGREEMENT = 0.9  # length of the mean hue vector from which on a sprite has one main hue
_COLOURED = 0.4  # share of a sprite's area, weighted by saturation, from which on it counts as coloured


def is_coloured(name: str) -> bool:
    """Whether a name says more than a colour, so that it can have another one."""
    return bool(_bare(name))


def said(colour: str, name: str) -> str:
    """A name with another colour: "green apple" in blue is "blue apple"."""
    return " ".join([colour, *_bare(name)])


def _bare(name: str) -> list[str]:
    return [w for w in name.split() if w not in HUES and w not in _OTHER_COLOURS]


def hue_of(picture: Tensor) -> float | None:
    """Main hue (degrees) of all that is not white in a picture [3 or 4, H, W] in [-1, 1]; None without one.

    As `main_hue`, but for a drawn picture with its anti-aliased edges and noise: hues may disagree more.
    """
    levels = ((picture[:3].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
    hsv = np.asarray(PillowImage.fromarray(levels).convert("HSV"), dtype=np.float64)
    saturation, value = hsv[..., 1] / 255, hsv[..., 2] / 255
    weight = np.where(saturation > 0.15, saturation * value, 0.0)
    mean = mean_direction(hsv[..., 0], weight)
    if weight.sum() < 0.01 * weight.size or abs(mean) < 0.5:
        return None
    return math.degrees(np.angle(mean)) % 360


def mean_direction(hue: np.ndarray, weight: np.ndarray) -> complex:
    """Weighted mean of unit vectors at hues of 0 to 255; 0 without weight."""
    angle = hue * (2 * math.pi / 256)
    return complex((weight * np.exp(1j * angle)).sum() / max(float(weight.sum()), 1e-12))


def main_hue(sprite: PillowImage.Image) -> float | None:
    """Mean hue (degrees) of an RGBa sprite weighted by saturation, value and alpha; None where hues disagree."""
    straight = sprite.convert("RGBA")
    hsv = np.asarray(straight.convert("RGB").convert("HSV"), dtype=np.float64)
    alpha = np.asarray(straight.getchannel("A"), dtype=np.float64) / 255
    weight = hsv[..., 1] / 255 * hsv[..., 2] / 255 * alpha
    if weight.sum() < _COLOURED * alpha.sum():
        return None
    mean = mean_direction(hsv[..., 0], weight)
    return math.degrees(np.angle(mean)) % 360 if abs(mean) >= _AGREEMENT else None


def rotate(sprite: PillowImage.Image, degrees: float) -> PillowImage.Image:
    """An RGBa sprite with all hues turned by `degrees`."""
    straight = sprite.convert("RGBA")
    hue, saturation, value = straight.convert("RGB").convert("HSV").split()
    shift = np.uint8(round(degrees * 256 / 360) % 256)
    turned = PillowImage.fromarray(np.asarray(hue) + shift)  # unsigned bytes go round
    out = PillowImage.merge("HSV", (turned, saturation, value)).convert("RGB").convert("RGBA")
    out.putalpha(straight.getchannel("A"))
    return out.convert("RGBa")
