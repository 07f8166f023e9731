"""Random choices from one keyed stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from multigen.core.noise import stream

T = TypeVar("T")


class Dice:
    """Random draws that depend only on (seed, *key) and on their order."""

    def __init__(self, seed: int, *key: str | int) -> None:
        self._stream = stream(seed, *key)

    def chance(self, share: float) -> bool:
        """True with probability `share`."""
        return torch.rand((), generator=self._stream).item() < share

    def between(self, low: float, high: float) -> float:
        """A uniform number in [low, high)."""
        return low + (high - low) * torch.rand((), generator=self._stream).item()

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self._stream))

    def index(self, weights: Sequence[float] | np.ndarray) -> int:
        """An index, drawn by weight; at least one weight must be above 0."""
        totals = np.cumsum(np.asarray(weights, dtype=np.float64))
        point = torch.rand((), generator=self._stream, dtype=torch.float64).item() * totals[-1]
        return int(np.searchsorted(totals, point, side="right"))

    def pick(self, weights: Mapping[T, float]) -> T:
        """A key, drawn by weight."""
        return list(weights)[self.index(list(weights.values()))]

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers of a shape."""
        return torch.randn(shape, generator=self._stream).numpy()

    def order(self, n: int) -> list[int]:
        """A random order of 0 to n - 1."""
        return torch.randperm(n, generator=self._stream).tolist()
