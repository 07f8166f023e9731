"""What filters of pictures share: the frames that they look at, and making media unrecognisable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from multigen.modalities.raster import to_channels, to_levels, to_pil

_BLOCKS = 8  # of the longer side of a picture that is blurred


def sampled(media: Tensor, count: int) -> list[Image.Image]:
    """A picture [C, H, W], or up to `count` frames of a clip [C, T, H, W], the first and the last among them, as RGB.

    Transparent places are white.
    """
    frames = [media] if media.ndim == 3 else [media[:, k] for k in _places(media.shape[1], count)]
    return [to_pil(to_levels(to_channels(one.detach().float().cpu(), 3).clamp(-1, 1))) for one in frames]


def blurred(media: Tensor) -> Tensor:
    """Pictures and clips [C, ..., H, W] as a few blocks of their mean colour, sounds [C, N] as silence."""
    if media.ndim < 3:
        return torch.zeros_like(media)
    height, width = media.shape[-2:]
    scale = max(height, width) / _BLOCKS
    small = (max(1, round(height / scale)), max(1, round(width / scale)))
    flat = media.reshape(-1, 1, height, width)
    return F.interpolate(F.adaptive_avg_pool2d(flat, small), (height, width)).reshape(media.shape)


def _places(total: int, count: int) -> list[int]:
    if total <= count:
        return list(range(total))
    return sorted({round(k * (total - 1) / max(count - 1, 1)) for k in range(count)})
