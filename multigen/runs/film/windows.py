"""Windows of time and blocks of space: how a clip of any length and size is made by a model of a fixed size.

A window holds some frames of the clip, and shares some with the one before; in those the earlier result fades into
the later one. Blocks share a margin in which they fade likewise: their weights add up to 1 at every pixel. Only one
window is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

Levels: TypeAlias = np.ndarray  # a frame, uint8 [H, W, 3]
Make: TypeAlias = Callable[[list[Levels]], list[Levels]]


class Span(NamedTuple):
    """A window of a clip: the number of its first frame, its frames, and whether it is the last one."""

    start: int
    frames: list[Levels]
    last: bool


class Block(NamedTuple):
    """A block along one side: where it starts, and its weights, which add up to 1 with those of the others."""

    start: int
    weights: Tensor


def spans(frames: Iterable[Levels], size: int, shared: int) -> Iterator[Span]:
    """Windows of `size` frames, of which two neighbours share `shared` or, at the end, more. A short clip is one."""
    window: list[Levels] = []
    earlier: list[Levels] = []
    start = 0
    for frame in frames:
        if len(window) == size:
            yield Span(start, window, False)
            earlier, window, start = window, window[size - shared :], start + size - shared
        window = [*window, frame]
    if earlier and len(window) < size:  # all of its length is of use: it begins earlier
        more = size - len(window)
        window = [*earlier[size - shared - more : size - shared], *window]
        start -= more
    if window:
        yield Span(start, window, True)


def blocks(side: int, size: int) -> list[Block]:
    """The blocks of `size` pixels along a side that is no shorter. They share a quarter of their size, or more."""
    step = size - size // 4
    count = -(-(side - size) // step) + 1
    starts = [round(k * (side - size) / max(count - 1, 1)) for k in range(count)]
    total, lines = torch.zeros(side), []
    for k, start in enumerate(starts):
        line = torch.ones(size)
        if k > 0:
            line *= _ramp(size, starts[k - 1] + size - start)
        if k < count - 1:
            line *= _ramp(size, start + size - starts[k + 1]).flip(0)
        total[start : start + size] += line
        lines.append(line)
    return [
        Block(start, line / total[start : start + size]) for start, line in zip(starts, lines, strict=True)
    ]


def _ramp(size: int, shared: int) -> Tensor:
    return ((torch.arange(size) + 0.5) / max(shared, 1)).clamp(max=1)


def joined(frames: Iterable[Levels], make: Make, *, size: int, shared: int, times: int) -> Iterator[Levels]:
    """The frames that `make` makes of all windows, as one clip of `times` as many.

    Of n frames a window gives (n - 1) `times` + 1, from its first to its last: nothing is known beyond. The clip's last
    frame is shown until its end.
    """
    fade = (shared - 1) * times + 1  # frames that a window has in common with the next
    tail: list[Levels] = []
    place = 0  # of the next frame
    for start, window, last in spans(frames, size, shared):
        made = make(window)[place - start * times :]
        for k, old in enumerate(tail):
            made[k] = _mixed(old, made[k], (k + 1) / (fade + 1))
        done = len(made) if last else len(made) - fade
        yield from made[:done]
        place, tail = place + done, made[done:]
        if last:
            yield from [made[-1]] * (times - 1)


def _mixed(old: Levels, new: Levels, share: float) -> Levels:
    mixed = old.astype(np.float32)
    mixed += np.float32(share) * (new.astype(np.float32) - mixed)
    return np.rint(mixed).astype(np.uint8)
