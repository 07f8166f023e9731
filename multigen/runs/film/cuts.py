"""Cuts: where one scene of a clip ends and another begins, so that nothing is made between the two."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

from multigen.errors import MultigenError
from multigen.runs.film.windows import Levels

AUTO, OFF = "auto", "off"
_SIDE = 32  # pixels of the longer side, at which frames are compared
_SHIFT = 2  # of those, by which a picture may move as a whole
_NEAR = 2  # frames before and after, to whose changes one is compared
_LEAST = 0.05  # of full scale: a smaller change is no cut
_TIMES = 3.0  # the usual change around
_ALONE = 0.15  # of full scale: a cut where nothing is around, in clips of two or three frames

Places: TypeAlias = "str | tuple[float, ...]"


def places(given: object) -> Places:
    """`auto`, `off`, or times in s, with commas or as a sequence, in their order. MultigenError for others."""
    if isinstance(given, str) and given in (AUTO, OFF):
        return given
    parts = [part.strip().removesuffix("s") for part in given.split(",")] if isinstance(given, str) else given
    try:
        found = (
            tuple(float(part) for part in parts)
            if isinstance(parts, Sequence) and not isinstance(parts, bytes)
            else ()
        )
    except (TypeError, ValueError):
        found = ()
    if not found or not all(math.isfinite(t) and t > 0 for t in found) or list(found) != sorted(set(found)):
        raise MultigenError(
            f"cuts: {given!r} is not allowed. Allowed: auto, off, or times in s such as 2.5,7.04."
        )
    return found


def scenes(
    frames: Iterable[Levels],
    cuts: str | Sequence[float],
    rate: float,
    tell: Callable[[float], None] = lambda _: None,
) -> Iterator[Iterator[Levels]]:
    """The scenes of a clip, one after the other; each is to be read before the next.

    cuts  where they are (`places`), of which MultigenError is raised at once; `rate` frames/s
    tell  hears of each cut, in s
    """
    told = places(cuts)

    def numbered() -> Iterator[tuple[int, Levels]]:
        scene = 0
        for k, (frame, cut) in enumerate(_cut(frames, told, rate)):
            if cut:
                scene += 1
                tell(k / rate)
            yield scene, frame

    return ((frame for _, frame in group) for _, group in groupby(numbered(), key=itemgetter(0)))


def _cut(frames: Iterable[Levels], cuts: Places, rate: float) -> Iterator[tuple[Levels, bool]]:
    """Each frame, and whether a scene begins with it."""
    if cuts == AUTO:
        return detected(frames)
    numbers = {round(t * rate) for t in cuts} if isinstance(cuts, tuple) else set()
    return ((frame, k in numbers and k > 0) for k, frame in enumerate(frames))


def detected(frames: Iterable[Levels]) -> Iterator[tuple[Levels, bool]]:
    """Each frame, and whether it is of another scene than the one before: its change stands out among those around it.

    A change is the mean difference of two small pictures, the least over small shifts of the whole, so that a camera
    that swings is none. It has to be several times the median of the changes in the frames around: where all moves
    fast, none is a cut. Fades are none either. Two frames ahead are read.
    """
    waiting: deque[Levels] = deque()
    changes: list[float] = []
    before: torch.Tensor | None = None
    for frame in frames:
        small = _small(frame)
        changes.append(0.0 if before is None else _change(before, small))
        before = small
        waiting.append(frame)
        if len(waiting) > _NEAR:
            yield waiting.popleft(), _stands_out(changes, len(changes) - 1 - _NEAR)
    while waiting:
        yield waiting.popleft(), _stands_out(changes, len(changes) - 1 - len(waiting))


def _stands_out(changes: list[float], k: int) -> bool:
    """Whether the change at frame k is that of a cut. The first frame has none before it."""
    if k == 0:
        return False
    around = [changes[j] for j in range(max(1, k - _NEAR), min(len(changes), k + _NEAR + 1)) if j != k]
    if len(around) < _NEAR:
        return changes[k] > _ALONE
    return changes[k] > max(_LEAST, _TIMES * statistics.median(around))


def _small(frame: Levels) -> torch.Tensor:
    """A frame [1, 3, h, w] in [0, 1] whose longer side has `_SIDE` pixels, or as many as there are."""
    height, width = frame.shape[:2]
    scale = _SIDE / max(height, width, _SIDE)
    step = max(1, int(1 / scale) // 8)  # of large frames every few pixels are enough
    pixels = (
        torch.from_numpy(np.ascontiguousarray(frame[::step, ::step])).permute(2, 0, 1)[None].float() / 255
    )
    return F.adaptive_avg_pool2d(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))


def _change(one: torch.Tensor, other: torch.Tensor) -> float:
    """The least mean difference of two small pictures [1, 3, h, w] over shifts, where both are."""
    height, width = one.shape[2:]
    most = min(_SHIFT, (min(height, width) - 1) // 4)
    found = []
    for y in range(-most, most + 1):
        for x in range(-most, most + 1):
            a = one[:, :, max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
            b = other[:, :, max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)]
            found.append(float((a - b).abs().mean()))
    return min(found)
