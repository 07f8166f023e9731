"""Heat over a picture: where something is strong, brightest, over the picture in grey."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

# Dark blue, magenta, orange, light yellow: lighter is always stronger, in grey, too.
_COLOURS = np.array(
    [[10, 10, 60], [130, 20, 120], [225, 60, 60], [252, 165, 50], [252, 253, 190]], dtype=float
)
_SHARE = 0.75  # of the strongest heat in a pixel
_GREY = 0.55  # light of the picture below


def laid_over(picture: Image.Image, cells: Sequence[Tensor], *, gap: int = 0) -> Image.Image:
    """The picture, a row of cells of one size with `gap` pixels around each, in grey with heat over it.

    cells  heat in [0, 1] of each, [H, W]; it is stretched over its cell
    """
    out = picture.convert("L").convert("RGB")
    width = (out.width - gap) // len(cells) - gap
    height = out.height - 2 * gap
    for k, cell in enumerate(cells):
        box = (gap + k * (width + gap), gap)
        heat = F.interpolate(
            cell[None, None].float(), size=(height, width), mode="bilinear", align_corners=False
        )[0, 0]
        levels = heat.clamp(0, 1).numpy()[..., None]
        places = np.linspace(0, 1, len(_COLOURS))
        colours = np.concatenate([np.interp(levels, places, channel) for channel in _COLOURS.T], -1)
        below = np.asarray(out.crop((*box, box[0] + width, box[1] + height)), dtype=float) * _GREY
        share = _SHARE * levels
        blended = below * (1 - share) + colours * share
        out.paste(Image.fromarray(blended.round().clip(0, 255).astype(np.uint8)), box)
    return out


def along_time(levels: Tensor, count: int) -> Sequence[Tensor]:
    """Levels [T, H, W] at `count` evenly spread moments: [H, W] of each."""
    t = levels.shape[0]
    return [levels[round(k * (t - 1) / max(count - 1, 1))] for k in range(count)]
