"""Intervals of noise levels along a way, and sums of maps in each: their memory does not grow with the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.core.schedules import Schedule


class Interval(NamedTuple):
    """Times in (low, high], and sigma/alpha, how much more noise there is than signal, at both ends."""

    high: float
    low: float
    most: float
    least: float

    def __str__(self) -> str:
        most, least = f"{self.most:.2g}", f"{self.least:.2g}"
        if math.isinf(self.high):
            return f"over {least}" if math.isfinite(self.low) else "of all levels"
        return f"{most} to {least}" if math.isfinite(self.low) else f"under {most}"


def intervals(schedule: Schedule, ts: Tensor, count: int) -> list[Interval]:
    """`count` intervals of a falling grid [n+1] with as many steps each, or as there are steps, from strong noise on.

    The first begins above the grid and the last ends below it, so that each query lies in one.
    """
    steps = len(ts) - 1
    cuts = torch.linspace(0, steps, min(count, steps) + 1, dtype=torch.float64).round().long().tolist()
    noise = [_noise(schedule, float(ts[k])) for k in cuts]
    times = [math.inf, *(float(ts[k]) for k in cuts[1:-1]), -math.inf]
    return [Interval(times[k], times[k + 1], noise[k], noise[k + 1]) for k in range(len(cuts) - 1)]


def place(found: Sequence[Interval], t: float) -> int:
    """Which of them a time lies in."""
    return next(k for k, one in enumerate(found) if t > one.low)


class Sums:
    """Sums of maps [L, T, H, W] in each interval, on the grid of the largest map that was added.

    counts  how many maps were added, by interval
    """

    def __init__(self, count: int) -> None:
        self.counts = [0] * count
        self._total: Tensor | None = None  # [count, L, T, H, W]

    def add(self, interval: int, maps: Tensor) -> None:
        """Add one map to an interval; it is repeated to the size of the largest, or all others to its own."""
        maps = maps.float().cpu()
        if self._total is None:
            self._total = maps.new_zeros(len(self.counts), *maps.shape)
        size = tuple(max(a, b) for a, b in zip(maps.shape[1:], self._total.shape[2:], strict=True))
        if size != tuple(self._total.shape[2:]):
            self._total = F.interpolate(self._total, size=size, mode="nearest")
        if size != tuple(maps.shape[1:]):
            maps = F.interpolate(maps[None], size=size, mode="nearest")[0]
        self._total[interval] += maps
        self.counts[interval] += 1

    def total(self) -> Tensor | None:
        """The sums of all intervals, [L, T, H, W]; None where nothing was added."""
        return None if self._total is None else self._total.sum(0)

    def means(self) -> Tensor | None:
        """The mean map of all intervals, and of each: [1 + count, L, T, H, W]; None where nothing was added."""
        if self._total is None:
            return None
        counts = torch.tensor([sum(self.counts), *self.counts]).clamp_min(1)
        return torch.cat([self._total.sum(0)[None], self._total]) / counts.view(-1, 1, 1, 1, 1)


def _noise(schedule: Schedule, t: float) -> float:
    """sigma/alpha at a time; infinite where there is no signal."""
    return math.exp(min(-float(schedule.log_snr(torch.tensor([t], dtype=torch.float64))) / 2, 700.0))
