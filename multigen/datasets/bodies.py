"""The part of a sprite that its colour is told by, in another colour: a blue strawberry keeps its green leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage

from multigen.datasets.colours import HUES, mean_direction

_NEAR, _TURNED = 40, 50  # degrees around the hue of a body: what counts, what is turned with it
_COLOURED = 0.25  # share of the sprite's area, weighted by saturation and value, from which on it is coloured
_SHARE = 0.7  # of what is coloured that has the body's hue
# Mean HSV saturation, and HSV values, with which a thing of that hue is called so: pale orange is beige, dark orange
# brown, dark yellow olive, bright green neon.
_LOOKS: dict[str, tuple[float, float, float]] = {
    "red": (0.65, 0.7, 0.95),
    "orange": (0.7, 0.92, 1.0),
    "yellow": (0.6, 0.97, 1.0),
    "green": (0.0, 0.5, 0.78),
    "pink": (0.0, 0.9, 1.0),
}


@dataclass(frozen=True)
class Body:
    """Mean hue in degrees, saturation and value in [0, 1] of a sprite's body."""

    hue: float
    saturation: float
    value: float


def body_hue(sprite: PillowImage.Image) -> float | None:
    """Hue (degrees) of the body of an RGBa sprite: most of what is coloured, within 40 degrees.

    None where little is coloured, or no hue has the most of it. (`main_hue` asks for one hue in all.)
    """
    hsv, alpha = _planes(sprite)
    weight = hsv[..., 1] * hsv[..., 2] * alpha
    if weight.sum() < _COLOURED * alpha.sum():
        return None
    angle = hsv[..., 0] * (360 * 255 / 256)
    shares = np.bincount((angle // 5).astype(int).ravel(), weight.ravel(), 72)
    near = np.convolve(np.tile(shares, 3), np.ones(2 * (_NEAR // 5) - 1), "same")[72:144]
    inside = weight * (_apart(angle, float(near.argmax()) * 5 + 2.5) <= _NEAR)
    hue = math.degrees(np.angle(mean_direction(hsv[..., 0] * 255, inside))) % 360
    inside = weight * (_apart(angle, hue) <= _NEAR)
    return hue if inside.sum() >= _SHARE * weight.sum() else None


def measure(sprite: PillowImage.Image, hue: float) -> Body:
    """The means of an RGBa sprite's body of that hue, weighted by saturation and alpha."""
    hsv, alpha = _planes(sprite)
    weight = hsv[..., 1] * alpha * (_apart(hsv[..., 0] * (360 * 255 / 256), hue) <= _NEAR)
    _, saturation, value = (hsv * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-12)
    return Body(hue, float(saturation), float(value))


def recolour(sprite: PillowImage.Image, body: Body, colour: str) -> PillowImage.Image:
    """An RGBa sprite whose body has another colour, so bright that it is called so; the rest stays."""
    box = sprite.getbbox()
    if box is None:
        return sprite
    straight = sprite.crop(box).convert("RGBA")
    hsv = np.array(straight.convert("RGB").convert("HSV"))
    away = (hsv[..., 0] - np.uint8(round(body.hue * 256 / 360) % 256)).view(np.int8).astype(np.int16)
    part = np.abs(away) <= round(_TURNED * 256 / 360)
    hsv[..., 0] += (
        np.uint8(round((HUES[colour] - body.hue) * 256 / 360) % 256) * part
    )  # unsigned bytes go round
    least, low, high = _LOOKS.get(colour, (0.0, 0.0, 1.0))
    # The more coloured, the more; what is grey keeps its brightness.
    some = np.clip(hsv[..., 1].astype(np.float32) / 128 - 0.25, 0, 1) * part
    for plane, mean, wanted in (
        (1, body.saturation, max(body.saturation, least)),
        (2, body.value, min(max(body.value, low), high)),
    ):
        if wanted != mean and mean > 0:
            scaled = hsv[..., plane] * (1 + (wanted / mean - 1) * some)
            hsv[..., plane] = np.minimum(255, scaled).astype(np.uint8)
    turned = PillowImage.fromarray(hsv, "HSV").convert("RGB").convert("RGBA")
    turned.putalpha(straight.getchannel("A"))
    out = PillowImage.new("RGBa", sprite.size)
    out.paste(turned.convert("RGBa"), box)
    return out


def _planes(sprite: PillowImage.Image) -> tuple[np.ndarray, np.ndarray]:
    """HSV [H, W, 3] and alpha [H, W] in [0, 1]."""
    straight = sprite.convert("RGBA")
    hsv = np.asarray(straight.convert("RGB").convert("HSV"), dtype=np.float64) / 255
    return hsv, np.asarray(straight.getchannel("A"), dtype=np.float64) / 255


def _apart(one: np.ndarray, other: float) -> np.ndarray:
    """Degrees between hues."""
    return np.abs((one - other + 180) % 360 - 180)
