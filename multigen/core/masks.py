"""Masks: what a network that is trained to fill sees of the known part of a sample, and how training draws it.

A *view* is one more condition, `Cond.grid` [B, 1 + C, *D]: 1 where the sample is known and 0 elsewhere, then the known
part itself, 0 elsewhere (the mask channel of inpainting networks; Rombach et al. 2022, arXiv:2112.10752, section 4.5).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.guides import Answers, Call, Guide, Query

# Shares of training samples: nothing known, as when a whole medium is made; a block unknown, or known.
_NOTHING, _UNKNOWN = 0.25, 0.75
_WHOLE = (
    0.6  # of the axes beside the first that is cut are not, so that spans of time and stripes are met, too
)
_END = 0.4  # of the cuts go to one end: to be continued, or preceded


def view(x0: Tensor, keep: Tensor | None) -> Tensor:
    """x0 [B, C, *D] and keep (bool, broadcasting to [B, 1, *D]; None: nothing is known) -> [B, 1 + C, *D]."""
    mask = x0.new_zeros(len(x0), 1, *x0.shape[2:])
    if keep is not None:
        mask = mask + keep.to(x0)
    return torch.cat([mask, mask * x0], dim=1)


def seen(cond: Cond, grid: Tensor) -> Cond:
    """The condition with a view; grid of as many rows, or one."""
    rows = cond.batch_size
    return dataclasses.replace(
        cond, grid=grid if rows in (None, len(grid)) else grid.expand(rows, *grid.shape[1:])
    )


def informed(guide: Guide, known: Tensor | None = None, keep: Tensor | None = None) -> Guide:
    """A guide whose calls see what is known: x0 = `known` [1, C, *D] where `keep`; None: nothing is.

    `keep`: bool, broadcasting to [1, 1, *D].
    """
    whole = None if known is None else view(known, keep)

    def of(call: Call) -> Call:
        grid = view(torch.zeros_like(call.x[:1]), None) if whole is None else whole
        return call._replace(cond=seen(call.cond, grid))

    def guided(q: Query) -> Answers:
        inner = guide(q)
        try:
            calls = next(inner)
            while True:
                calls = inner.send((yield [of(call) for call in calls]))
        except StopIteration as stop:
            return stop.value
        finally:
            inner.close()

    return guided


def draw(size: Sequence[int], u: Tensor) -> Tensor:
    """What is known of a training sample with axes `size`: bool [1, *D], of numbers u [2 + 4 * axes] in [0, 1).

    A quarter of them know nothing, half all but a block, a quarter a block alone. A block takes 0.2 to 0.8 of each axis
    that it cuts, anywhere or at an end: gaps, beginnings, ends, and frames between others.
    """
    first, axis_of, *rest = u.tolist()
    if first < _NOTHING:
        return torch.zeros(1, *size, dtype=torch.bool)
    block = torch.ones(1, *size, dtype=torch.bool)
    cuts = [rest[4 * k : 4 * k + 4] for k in range(len(size))]
    surely = int(axis_of * len(size))  # an axis that is cut
    for axis, (n, (whole, long, end, place)) in enumerate(zip(size, cuts, strict=True)):
        if n < 2 or (whole < _WHOLE and axis != surely):
            continue
        length = min(max(round((0.2 + 0.6 * long) * n), 1), n - 1)
        spare = n - length
        start = (0 if place < 0.5 else spare) if end < _END else min(int(place * (spare + 1)), spare)
        line = torch.zeros(n, dtype=torch.bool)
        line[start : start + length] = True
        block &= line.view(1, *[1] * axis, n, *[1] * (len(size) - axis - 1))
    return block if first >= _UNKNOWN else ~block
