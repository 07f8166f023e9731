"""Pictures as networks take them: 8-bit RGB levels, resized."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.modalities.raster import to_channels


def rgb_levels(media: Tensor) -> Tensor:
    """[B, C, *D] in [-1, 1] -> [B, 3, *D] float, whole levels 0 to 255 as in a saved file.

    Grey is repeated over three channels; alpha is composited on white.
    """
    colours = to_channels(media.movedim(1, 0).float(), 3).movedim(0, 1)
    return ((colours + 1) * 127.5).round().clamp(0, 255)


def resized(pictures: Tensor, height: int, width: int) -> Tensor:
    """[N, C, H, W] levels -> [N, C, height, width], bicubic and antialiased; the aspect ratio is not kept."""
    if tuple(pictures.shape[2:]) == (height, width):
        return pictures
    size = (height, width)
    return F.interpolate(pictures, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(
        0, 255
    )


def resized_tf1(pictures: Tensor, height: int, width: int) -> Tensor:
    """[N, C, H, W] -> [N, C, height, width] as TensorFlow 1's ResizeBilinear does it: pixel i lies at i * H / height.

    Neither centred nor antialiased. Another way of resizing gives other distances (Parmar et al. 2022,
    arXiv:2104.11222).
    """
    rows, columns = _bilinear(pictures.shape[2], height), _bilinear(pictures.shape[3], width)
    return rows.to(pictures) @ pictures @ columns.to(pictures).T


@lru_cache(maxsize=16)
def _bilinear(size: int, target: int) -> Tensor:
    """[target, size]: the weight of each old row in each new one."""
    place = torch.arange(target) * (size / target)
    low = place.floor().long().clamp_max(size - 1)
    share = (place - low)[:, None]
    eye = torch.eye(size)
    return eye[low] * (1 - share) + eye[(low + 1).clamp_max(size - 1)] * share
