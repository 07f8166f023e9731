"""Masks: how a network that is trained to inpaint sees the known part of a sample, and the masks of its training.

The known part is one more condition, `Cond.grid` [B, 1 + C, *D]:

    grid = cat(m, m x0),    m = 1 where the sample is known, 0 elsewhere

These are the mask channels of inpainting networks (Rombach et al. 2022, arXiv:2112.10752, section 4.5). Networks on
latents see the latents of the known part alone instead of m x0: `Codec.known`. Masks are drawn on media, as users give
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from multigen.core.guides import Guide, with_calls

# Training masks: a quarter know nothing, as when a whole medium is made; half know all but a block; a quarter know a
# block alone.
_NOTHING, _BLOCK_ALONE = 0.25, 0.75
_WHOLE = 0.6  # share of the further axes that a block spans whole, which gives spans of time and stripes
_END = 0.4  # share of the cuts at an end of the axis, which gives continuations


def mask_channels(x0: Tensor, keep: Tensor | None) -> Tensor:
    """x0 [B, C, *D] and keep (bool, broadcasting to [B, 1, *D]; None: nothing is known) -> [B, 1 + C, *D]."""
    mask = x0.new_zeros(len(x0), 1, *x0.shape[2:])
    if keep is not None:
        mask = mask + keep.to(x0)
    return torch.cat([mask, mask * x0], dim=1)


def with_mask_channels(guide: Guide, channels: Tensor) -> Guide:
    """Add mask channels [1, 1 + C, *D] to every call of a guide."""
    return with_channels(guide, lambda: channels)


def with_channels(guide: Guide, channels: Callable[[], Tensor]) -> Guide:
    """Add channels [1, K, *D], asked for at every call, to the grid of every call of a guide."""
    return with_calls(guide, lambda call: call._replace(cond=call.cond.join_grid(channels())))


def random_mask(size: Sequence[int], u: Tensor) -> Tensor:
    """Draw what is known of a training sample with axes `size`: bool [1, *D], True where it is known.

    u [2 + 4 * axes] are uniform random numbers in [0, 1). A block takes 0.2 to 0.8 of each axis that it cuts, anywhere
    or at an end: gaps, beginnings, ends, and frames between others.
    """
    first, axis_of, *rest = u.tolist()
    if first < _NOTHING:
        return torch.zeros(1, *size, dtype=torch.bool)
    block = torch.ones(1, *size, dtype=torch.bool)
    cuts = [rest[4 * k : 4 * k + 4] for k in range(len(size))]
    always = int(axis_of * len(size))  # one axis is always cut
    for axis, (n, (whole, long, end, place)) in enumerate(zip(size, cuts, strict=True)):
        if n < 2 or (whole < _WHOLE and axis != always):
            continue
        length = min(max(round((0.2 + 0.6 * long) * n), 1), n - 1)
        spare = n - length
        start = (0 if place < 0.5 else spare) if end < _END else min(int(place * (spare + 1)), spare)
        line = torch.zeros(n, dtype=torch.bool)
        line[start : start + length] = True
        block &= line.view(1, *[1] * axis, n, *[1] * (len(size) - axis - 1))
    return block if first >= _BLOCK_ALONE else ~block
