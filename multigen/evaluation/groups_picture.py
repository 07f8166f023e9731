"""The shares of groups as a picture: outputs and real media, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

GROUPS = "evaluation-groups.png"
_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 720, 34, 170, 30, 44
_OURS, _REAL, _GREY, _INK = (37, 99, 235), (120, 120, 120), (225, 225, 225), (20, 20, 20)


def draw_groups(found: Mapping[str, Any], folder: Path) -> Path:
    """Write the picture, and return its path."""
    rows = found["rows"]
    most = max(max(one[side]["high"] for side in ("outputs", "real")) for one in rows)
    most = min(1.0, math.ceil(10 * (1.0 if math.isnan(most) else most)) / 10)
    out = Image.new("RGB", (_WIDTH, _TOP + _ROW * len(rows) + 30), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(13)
    for k in range(6):
        x = _place(most * k / 5, most)
        draw.line((x, _TOP - 6, x, out.height - 26), fill=_GREY)
        draw.text((x, out.height - 22), f"{most * k / 5:.0%}", fill=_INK, font=font, anchor="ma")
    draw.text((_LEFT, 8), "outputs for neutral prompts", fill=_OURS, font=font)
    draw.text((_LEFT + 230, 8), "real media, judged by the same", fill=_REAL, font=font)
    for k, one in enumerate(rows):
        y = _TOP + _ROW * k + _ROW // 2
        draw.text((_LEFT - 12, y), one["group"][:22], fill=_INK, font=font, anchor="rm")
        _interval(draw, one["outputs"], most, y - 5, _OURS)
        _interval(draw, one["real"], most, y + 6, _REAL)
    folder.mkdir(parents=True, exist_ok=True)
    out.save(folder / GROUPS)
    return folder / GROUPS


def _interval(
    draw: ImageDraw.ImageDraw, share: Mapping[str, float], most: float, y: int, colour: Sequence[int]
) -> None:
    if math.isnan(share["share"]):
        return
    low, middle, high = (_place(share[name], most) for name in ("low", "share", "high"))
    ink = (colour[0], colour[1], colour[2])
    draw.line((low, y, high, y), fill=ink, width=2)
    draw.ellipse((middle - 4, y - 4, middle + 4, y + 4), fill=ink)


def _place(share: float, most: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(share, most) / most
