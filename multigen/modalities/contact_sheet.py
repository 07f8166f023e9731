"""Contact sheets of pictures, and pictures embedded in HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from PIL import Image as PillowImage

from multigen.modalities.raster import to_pil

_TINY = 96  # px: smaller pictures are shown enlarged
GAP = 4  # px around each picture of a sheet
_LARGEST = 512  # px: larger pictures are shrunk in sheets


def enlargement(height: int, width: int) -> int:
    """Return the whole factor that makes a tiny picture visible; 1 for larger ones."""
    return max(1, _TINY // max(height, width))


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = GAP) -> PillowImage.Image:
    """Arrange rows of uint8 [H, W, C] pictures as one RGB picture, tiny ones enlarged and large ones shrunk."""
    flat = [p for row in rows for p in row]
    if not flat:
        raise ValueError("preview: there is nothing to show")
    height, width = max(p.shape[0] for p in flat), max(p.shape[1] for p in flat)
    factor = enlargement(height, width)
    factor = min(factor, _LARGEST / max(height, width)) if factor == 1 else factor
    cell = (round(width * factor), round(height * factor))
    columns = max(len(row) for row in rows)
    size = (columns * (cell[0] + gap) + gap, len(rows) * (cell[1] + gap) + gap)
    out = PillowImage.new("RGB", size, (96, 96, 96))
    how = PillowImage.Resampling.NEAREST if factor >= 1 else PillowImage.Resampling.LANCZOS
    for i, row in enumerate(rows):
        for j, levels in enumerate(row):
            one = to_pil(levels)
            one = one.resize((max(1, round(one.width * factor)), max(1, round(one.height * factor))), how)
            place = (gap + j * (cell[0] + gap), gap + i * (cell[1] + gap))
            out.paste(one, place, one.getchannel("A") if one.mode == "RGBA" else None)
    return out


def data_url(content: bytes, kind: str) -> str:
    """Bytes embedded in HTML; `kind` is the MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
