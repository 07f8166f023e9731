"""Pictures with alpha: colours multiplied by how opaque they are, which is how they may be averaged and resized.

The colour of what is clear says nothing. Where straight colours are averaged it bleeds into edges as a fringe;
premultiplied ones are sums of light. (Porter & Duff 1984, section 3; Smith 1995, "Image compositing fundamentals".)

A medium [4, *D] is straight: three colours and alpha in [-1, 1], -1 clear and 1 opaque.
"""

from __future__ import annotations

import torch
from torch import Tensor

RGBA = 4
_CLEAR = 0.5 / 255  # alpha below which 8 bits hold nothing


def has_alpha(media: Tensor, axis: int = 0) -> bool:
    """Whether media have four channels along an axis, with height and width after it."""
    return media.ndim >= axis + 3 and media.shape[axis] == RGBA


def premultiplied(media: Tensor, axis: int = 0) -> Tensor:
    """Straight media [..., 4, *D], channels along `axis`, with colours from -1 (none) to alpha."""
    colours, alpha = _parts(media, axis)
    return torch.cat([(colours + 1) / 2 * (alpha + 1) - 1, alpha], axis)


def straight(media: Tensor, axis: int = 0, *, least: float = _CLEAR) -> Tensor:
    """The inverse of `premultiplied`, clamped to [-1, 1]. What is clear has the mean colour of the rest.

    least  share of light by which colours are divided at least, so that their gradient is 1 / least at most
    """
    colours, alpha = _parts(media.clamp(-1, 1), axis)
    light, share = (colours + 1) / 2, (alpha + 1) / 2
    sides = tuple(range(axis + 1, media.ndim))
    mean = light.sum(sides, keepdim=True) / share.sum(sides, keepdim=True).clamp_min(least)
    found = torch.where(share > _CLEAR, light / share.clamp_min(least), mean).clamp(0, 1)
    return torch.cat([found * 2 - 1, alpha], axis)


def _parts(media: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    return media.narrow(axis, 0, 3), media.narrow(axis, 3, 1)
