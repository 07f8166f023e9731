"""Choices drawn from one keyed stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from multigen.core.noise import stream

T = TypeVar("T")


class Dice:
    """Draws that depend on (seed, *key) and on their order."""

    def __init__(self, seed: int, *key: str | int) -> None:
        self._stream = stream(seed, *key)

    def chance(self, share: float) -> bool:
        return torch.rand((), generator=self._stream).item() < share

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self._stream).item()

    def whole(self, low: int, high: int) -> int:
        """One of low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self._stream))

    def index(self, weights: Sequence[float] | np.ndarray) -> int:
        """An index by its weight; at least one weight is above 0."""
        totals = np.cumsum(np.asarray(weights, dtype=np.float64))
        point = torch.rand((), generator=self._stream, dtype=torch.float64).item() * totals[-1]
        return int(np.searchsorted(totals, point, side="right"))

    def pick(self, weights: Mapping[T, float]) -> T:
        return list(weights)[self.index(list(weights.values()))]

    def normal(self, *shape: int) -> np.ndarray:
        return torch.randn(shape, generator=self._stream).numpy()

    def order(self, n: int) -> list[int]:
        return torch.randperm(n, generator=self._stream).tolist()
