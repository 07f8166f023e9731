"""Sliding windows: samples of any size from a network of a fixed size.

The windows i overlap. With C_i the crop to window i and w_i weights that fall towards its edges,

    x0 = sum_i w_i C_i^T D(C_i x, t)/sum_i w_i        (MultiDiffusion: Bar-Tal et al. 2023, arXiv:2302.08113, eq. 5)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from multigen.core.guides import Answers, Guide, Query, together
from multigen.core.upload import upload

Crop: TypeAlias = Callable[[Tensor], Tensor]


def sliding_windows(
    make: Callable[[Crop], Guide],
    size: Sequence[int],
    overlap: float = 0.5,
    closed: Sequence[int] = (),
    poles: bool = False,
) -> Guide:
    """A guide for x [B, C, *D] of any size, averaged over overlapping windows whose calls may merge.

    make     makes the guide of one window, from the function that crops any [B, C, *D] to it
    size     of a window, one number for each axis
    overlap  share of a window that the next one covers, 0 to under 1
    closed   axes, counted from the last, along which windows go round: the end continues in the beginning
    poles    windows go on beyond the top and the bottom, where x goes on half a turn further, upside down: the last
             axis is closed, and even

    Raises ValueError for an overlap out of range.
    """
    _check(overlap)
    guides: list[Guide] = []
    windows: list[Window] = []  # made once, since a trajectory has one shape and one device

    def guide(q: Query) -> Answers:
        if not windows:
            windows.extend(windows_of(q.x, size, overlap, closed, poles))
            guides.extend(make(window.crop) for window in windows)
        inner = [g(Query(w.crop(q.x), q.t)) for g, w in zip(guides, windows, strict=True)]
        return blended((yield from together(inner)), windows, q.x)

    return guide


class Window:
    """A window of a sample: its places on each axis, and its weights [1, 1, *d] in the average.

    Rows before the first and after the last are those of a globe beyond its poles.
    """

    def __init__(self, lines: Sequence[Tensor], like: Tensor, closed: Sequence[int] = ()) -> None:
        self.size = [len(line) for line in lines]
        self.places = upload(_places(lines, like.shape[2:]), like.device)
        cut = [
            len(line) < n or k - len(lines) in closed
            for k, (line, n) in enumerate(zip(lines, like.shape[2:], strict=True))
        ]
        self.weights = _weights(self.size, cut, like)

    def crop(self, x: Tensor) -> Tensor:
        """Any [B, C, *D] -> [B, C, *d]."""
        return x.flatten(2).index_select(2, self.places.to(x.device)).unflatten(2, self.size)

    def add(self, total: Tensor, part: Tensor) -> None:
        """Add a part [B, C, *d] to a total [B, C, *D], in place."""
        total.view(*total.shape[:2], -1).index_add_(2, self.places, part.flatten(2))


def windows_of(
    x: Tensor, size: Sequence[int], overlap: float = 0.5, closed: Sequence[int] = (), poles: bool = False
) -> list[Window]:
    """The windows of a sample [B, C, *D], as in `sliding_windows`."""
    _check(overlap)
    cut = (*closed, -2) if poles else closed
    return [Window(lines, x, cut) for lines in _windows(x.shape[2:], size, overlap, closed, poles)]


def _places(lines: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """The places of a window in a flattened sample of `shape` [*D], from those on each axis."""
    grid = list(torch.meshgrid(*lines, indexing="ij"))
    if len(shape) > 1:
        (height, width), row = shape[-2:], grid[-2]
        beyond = (row < 0) | (row >= height)
        grid[-2] = torch.where(row < 0, -1 - row, torch.where(row >= height, 2 * height - 1 - row, row))
        grid[-1] = torch.where(beyond, (grid[-1] + width // 2) % width, grid[-1])
    places = torch.zeros_like(grid[0])
    for line, n in zip(grid, shape, strict=True):
        places = places * n + line
    return places.flatten()


def blended(parts: Sequence[Tensor], windows: Sequence[Window], like: Tensor) -> Tensor:
    """The average of the windows' parts [B, C, *d] as one sample [B, C, *D]."""
    total = torch.zeros_like(like, memory_format=torch.contiguous_format)
    for part, window in zip(parts, windows, strict=True):
        window.add(total, window.weights * part)
    return total / total_weight(windows, like)


def total_weight(windows: Sequence[Window], like: Tensor) -> Tensor:
    """The sum of the windows' weights at each place of a sample: [1, 1, *D]."""
    weight = torch.zeros_like(like[:1, :1], memory_format=torch.contiguous_format)
    for window in windows:
        window.add(weight, window.weights)
    return weight


def _check(overlap: float) -> None:
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap: {overlap} is not allowed. Allowed: 0 to under 1.")


def _windows(
    shape: Sequence[int], size: Sequence[int], overlap: float, closed: Sequence[int], poles: bool
) -> list[list[Tensor]]:
    """The indices of each window on each axis; beyond the poles they are under 0, or go on after the last."""
    lines = []
    for axis, (n, wide) in enumerate(zip(shape, size, strict=True)):
        circle, wide = axis - len(shape) in closed, min(wide, n)
        before = wide // 2 if poles and axis == len(shape) - 2 else 0
        n = n + 2 * before
        if wide == n and not circle:
            lines.append([torch.arange(n)])
            continue
        step = max(round(wide * (1 - overlap)), 1)
        if circle:
            count = max(-(-n // step), min(n, 2))  # one window has ends, whatever it covers
            starts = [round(k * n / count) for k in range(count)]
        else:
            count = -(-(n - wide) // step) + 1
            starts = [round(k * (n - wide) / (count - 1)) for k in range(count)]
        lines.append([(torch.arange(wide) + s) % n - before for s in starts])
    windows: list[list[Tensor]] = [[]]
    for line in lines:
        windows = [[*window, one] for window in windows for one in line]
    return windows


def _weights(size: Sequence[int], cut: Sequence[bool], like: Tensor) -> Tensor:
    """[1, 1, *size]: highest in the middle, low but above 0 at the edges of the axes that are cut."""
    weight = torch.ones(1, 1, *size, device=like.device, dtype=like.dtype)
    for axis, (n, is_cut) in enumerate(zip(size, cut, strict=True)):
        if is_cut:
            line = 1 - (2 * (torch.arange(n, device=like.device) + 0.5) / n - 1).abs()
            weight = weight * line.to(like.dtype).view(*[1] * (axis + 2), n, *[1] * (len(size) - axis - 1))
    return weight
