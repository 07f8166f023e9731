"""Sliding windows: samples of any size from a network of a fixed size.

The windows i overlap. With C_i the crop to window i and w_i weights that fall towards its edges,

    x0 = sum_i w_i C_i^T D(C_i x, t)/sum_i w_i        (MultiDiffusion: Bar-Tal et al. 2023, arXiv:2302.08113, eq. 5)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from multigen.core.guides import Answers, Guide, Query, together
from multigen.core.upload import upload

Crop: TypeAlias = Callable[[Tensor], Tensor]


def sliding_windows(
    make: Callable[[Crop], Guide], size: Sequence[int], overlap: float = 0.5, tile: bool = False
) -> Guide:
    """A guide for x [B, C, *D] of any size, averaged over overlapping windows whose calls may merge.

    make     makes the guide of one window, from the function that crops any [B, C, *D] to it
    size     of a window, one number for each axis
    overlap  share of a window that the next one covers, 0 to under 1
    tile     close the last axis into a circle, so that the end continues into the beginning

    Raises ValueError for an overlap out of range.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap: {overlap} is not allowed. Allowed: 0 to under 1.")
    guides: list[Guide] = []
    windows: list[list[Tensor]] = []  # made once, since a trajectory has one shape and one device

    def guide(q: Query) -> Answers:
        if not windows:
            found = _windows(q.x.shape[2:], size, overlap, tile)
            windows.extend([upload(line, q.x.device) for line in window] for window in found)
            guides.extend(make(partial(_crop, window=window)) for window in windows)
        inner = [g(Query(_crop(q.x, window), q.t)) for g, window in zip(guides, windows, strict=True)]
        parts = yield from together(inner)
        total, weight = torch.zeros_like(q.x), torch.zeros_like(q.x[:1, :1])
        for part, window in zip(parts, windows, strict=True):
            share = _weights(part, [len(line) < n for line, n in zip(window, q.x.shape[2:], strict=True)])
            index = torch.meshgrid(*window, indexing="ij")
            total[(slice(None), slice(None), *index)] += share * part
            weight[(slice(None), slice(None), *index)] += share
        return total / weight

    return guide


def _windows(shape: Sequence[int], size: Sequence[int], overlap: float, tile: bool) -> list[list[Tensor]]:
    """The indices of each window on each axis."""
    lines = []
    for axis, (n, wide) in enumerate(zip(shape, size, strict=True)):
        circle = tile and axis == len(shape) - 1
        if wide >= n:
            lines.append([torch.arange(n)])
            continue
        step = max(round(wide * (1 - overlap)), 1)
        if circle:
            count = -(-n // step)
            starts = [round(k * n / count) for k in range(count)]
        else:
            count = -(-(n - wide) // step) + 1
            starts = [round(k * (n - wide) / (count - 1)) for k in range(count)]
        lines.append([(torch.arange(wide) + s) % n for s in starts])
    windows: list[list[Tensor]] = [[]]
    for line in lines:
        windows = [[*window, one] for window in windows for one in line]
    return windows


def _crop(x: Tensor, window: Sequence[Tensor]) -> Tensor:
    for axis, line in enumerate(window):
        x = x.index_select(axis + 2, line.to(x.device))
    return x


def _weights(like: Tensor, cut: Sequence[bool]) -> Tensor:
    """[1, 1, *D]: highest in the middle, low but above 0 at the edges of the axes that are cut."""
    weight = torch.ones(1, 1, *like.shape[2:], device=like.device, dtype=like.dtype)
    for axis, is_cut in enumerate(cut):
        n = like.shape[axis + 2]
        if is_cut:
            line = 1 - (2 * (torch.arange(n, device=like.device) + 0.5) / n - 1).abs()
            weight = weight * line.to(like.dtype).view(*[1] * (axis + 2), n, *[1] * (like.ndim - axis - 3))
    return weight
