"""Turning a sprite's main hue to another one that has a name."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

# Degrees on the HSV circle.
HUES = {"red": 0, "orange": 30, "yellow": 52, "green": 120, "blue": 215, "purple": 275, "pink": 325}
_BODY, _TURNED = 40, 50  # degrees around the hue of a thing's body: what counts, what is turned with it
_BODY_COLOURED, _BODY_SHARE = 0.25, 0.7  # of the area as above; of what is coloured
# HSV values between which a thing of that hue is called so; darker orange is brown, brighter green is neon.
_VALUES = {
    "red": (0.7, 0.95),
    "orange": (0.92, 1.0),
    "yellow": (0.97, 1.0),
    "green": (0.5, 0.78),
    "pink": (0.9, 1.0),
}
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
    mean = _mean_direction(hsv[..., 0], weight)
    if weight.sum() < 0.01 * weight.size or abs(mean) < 0.5:
        return None
    return math.degrees(np.angle(mean)) % 360


def _mean_direction(hue: np.ndarray, weight: np.ndarray) -> complex:
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
    mean = _mean_direction(hsv[..., 0], weight)
    return math.degrees(np.angle(mean)) % 360 if abs(mean) >= _AGREEMENT else None


def body_hue(sprite: PillowImage.Image) -> float | None:
    """Hue (degrees) of the part that a thing's colour is told by: most of what is coloured, within 40 degrees.

    None where little is coloured, or no hue has the most of it. `main_hue` asks for one hue in all.
    """
    straight = sprite.convert("RGBA")
    hsv = np.asarray(straight.convert("RGB").convert("HSV"), dtype=np.float64)
    alpha = np.asarray(straight.getchannel("A"), dtype=np.float64) / 255
    weight = hsv[..., 1] / 255 * hsv[..., 2] / 255 * alpha
    if weight.sum() < _BODY_COLOURED * alpha.sum():
        return None
    angle = hsv[..., 0] * (360 / 256)
    shares = np.bincount((angle // 5).astype(int).ravel(), weight.ravel(), 72)
    near = np.convolve(np.tile(shares, 3), np.ones(2 * (_BODY // 5) - 1), "same")[72:144]
    peak = float(near.argmax()) * 5 + 2.5
    inside = np.abs((angle - peak + 180) % 360 - 180) <= _BODY
    mean = _mean_direction(hsv[..., 0], weight * inside)
    hue = math.degrees(np.angle(mean)) % 360
    inside = np.abs((angle - hue + 180) % 360 - 180) <= _BODY
    return hue if (weight * inside).sum() >= _BODY_SHARE * weight.sum() else None


def recolour(sprite: PillowImage.Image, hue: float, colour: str, value: float) -> PillowImage.Image:
    """An RGBa sprite whose body (`body_hue`, of mean HSV value `value`) has another colour; the rest stays."""
    gain = _gain(colour, value)
    box = sprite.getbbox()
    if box is None:
        return sprite
    straight = sprite.crop(box).convert("RGBA")
    hsv = np.array(straight.convert("RGB").convert("HSV"))
    shift = np.uint8(round(hue * 256 / 360) % 256)
    body = np.abs((hsv[..., 0] - shift).view(np.int8)) <= round(_TURNED * 256 / 360)
    turn = np.uint8(round((HUES[colour] - hue) * 256 / 360) % 256)
    hsv[..., 0] += turn * body  # unsigned bytes go round
    if gain != 1:
        # The more coloured, the more; what is grey keeps its brightness.
        some = np.clip(hsv[..., 1].astype(np.float32) / 128 - 0.25, 0, 1) * body
        hsv[..., 2] = np.minimum(255, hsv[..., 2] * (1 + (gain - 1) * some)).astype(np.uint8)
    part = PillowImage.fromarray(hsv, "HSV").convert("RGB").convert("RGBA")
    part.putalpha(straight.getchannel("A"))
    out = PillowImage.new("RGBa", sprite.size)
    out.paste(part.convert("RGBa"), box)
    return out


def body_value(sprite: PillowImage.Image, hue: float) -> float:
    """Mean HSV value in [0, 1] of an RGBa sprite's body, weighted by saturation and alpha."""
    straight = sprite.convert("RGBA")
    hsv = np.asarray(straight.convert("RGB").convert("HSV"), dtype=np.float64)
    inside = np.abs((hsv[..., 0] * (360 / 256) - hue + 180) % 360 - 180) <= _BODY
    weight = hsv[..., 1] * np.asarray(straight.getchannel("A"), dtype=np.float64) * inside
    return float((hsv[..., 2] / 255 * weight).sum() / max(float(weight.sum()), 1e-12))


def _gain(colour: str, value: float) -> float:
    """By what factor to brighten a thing of that mean value so that the colour keeps its name: no olive yellow."""
    low, high = _VALUES.get(colour, (0.0, 1.0))
    return min(max(value, low), high) / value if value > 0 else 1.0


def rotate(sprite: PillowImage.Image, degrees: float) -> PillowImage.Image:
    """An RGBa sprite with all hues turned by `degrees`."""
    straight = sprite.convert("RGBA")
    hue, saturation, value = straight.convert("RGB").convert("HSV").split()
    shift = np.uint8(round(degrees * 256 / 360) % 256)
    turned = PillowImage.fromarray(np.asarray(hue) + shift)  # unsigned bytes go round
    out = PillowImage.merge("HSV", (turned, saturation, value)).convert("RGB").convert("RGBA")
    out.putalpha(straight.getchannel("A"))
    return out.convert("RGBa")
