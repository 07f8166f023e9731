"""Pictures of heat: a medium once for each word and interval of noise levels, with heat where the word counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from multigen.modalities.media import Media

_GAP, _LABEL, _HEAD = 8, 16, 22  # pixels
_LEAST = 128  # narrowest picture
_NARROW = 260  # widest picture of which several stand in a row
_WIDEST = 720  # of a picture alone in its row
_INK, _GROUND = (235, 235, 235), (38, 40, 46)


class Row(NamedTuple):
    """A word, its maps [K, T, H, W], and what stands below each."""

    word: str
    maps: Tensor
    captions: Sequence[str]


def heat_picture(medium: Media, rows: Sequence[Row], columns: Sequence[str]) -> Any:
    """A picture for each map, bright where it is strong; one row a word, or for wide media one row a map.

    Each map is shown between its own least and most, so that where it is can be compared, not how much.
    """
    from PIL import Image, ImageDraw, ImageFont

    cells = [[_shown(medium, one) for one in row.maps] for row in rows]
    width, height = cells[0][0].size
    across = len(columns) if width <= _NARROW else 1
    font = ImageFont.load_default(12)
    block = (height + _LABEL + _GAP) * (len(columns) // across) + _HEAD
    out = Image.new("RGB", (across * (width + _GAP) + _GAP, len(rows) * block + _HEAD), _GROUND)
    draw = ImageDraw.Draw(out)
    if across > 1:
        for k, name in enumerate(columns):
            draw.text((_GAP + k * (width + _GAP), 4), name, fill=_INK, font=font)
    for i, (row, pictures) in enumerate(zip(rows, cells, strict=True)):
        top = _HEAD + i * block
        draw.text((_GAP, top + 2), row.word, fill=_INK, font=ImageFont.load_default(14))
        for k, picture in enumerate(pictures):
            x = _GAP + (k % across) * (width + _GAP)
            y = top + _HEAD + (k // across) * (height + _LABEL + _GAP)
            out.paste(picture, (x, y))
            said = row.captions[k] if across > 1 else f"{columns[k]}: {row.captions[k]}"
            draw.text((x, y + height + 1), said, fill=_INK, font=font)
    return out


def _shown(medium: Media, one: Tensor) -> Any:
    low, high = one.min(), one.max()
    picture = medium.modality.heat(medium.tensor, (one - low) / (high - low).clamp_min(1e-12))
    if picture.width < _LEAST:
        factor = -(-_LEAST // picture.width)
        return picture.resize((picture.width * factor, picture.height * factor), 0)  # as pixels
    if picture.width <= _WIDEST:
        return picture
    return picture.resize((_WIDEST, max(1, round(picture.height * _WIDEST / picture.width))))
