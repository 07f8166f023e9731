"""The dataset: a stationary process whose forecasts are known exactly, for any number of channels.

    x_{t+1} = rho Q x_t + sqrt(1 - rho^2) e,    Q orthogonal,  e standard normal

so that x_t is standard normal, and given x_0, x_h is normal with mean (rho Q)^h x_0 and variance 1 - rho^(2h).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from multigen.core.noise import normal
from multigen.datasets import Dataset, Item
from multigen.registry import Given
from multigen_series.modality import Series

SCALE = 0.3  # of a medium for 1 of the process: what lies beyond 3.3 deviations is clipped


class Normal(NamedTuple):
    """What is to come, given the past: normal, with mean and standard deviation [C, horizon] of a medium."""

    mean: Tensor
    deviation: Tensor


@runtime_checkable
class Foreseeable(Protocol):
    """A dataset whose future is known as well as can be."""

    def future(self, past: Tensor, horizon: int) -> Normal:
        """What follows a past [C, N] for `horizon` steps."""
        ...


class Process(Dataset):
    """`count` pieces of the process, in as many channels as the modality has.

    rho    how much of a step is that of before, 0 to below 1
    angle  by how much the channels turn into each other at a step, radians
    """

    def __init__(
        self,
        *,
        modality: Given[Series],
        count: int = 2000,
        rho: float = 0.95,
        angle: float = 0.3,
        held_out: int = 100,
    ) -> None:
        if not 0 <= rho < 1:
            raise ValueError(f"rho: {rho} is not allowed. Allowed: 0 to below 1.")
        if not 0 < held_out < count:
            raise ValueError(f"held_out: {held_out} is not allowed. Allowed: 1 to below count, {count}.")
        self.shape, self.count, self.rho, self.out = modality.shape(), count, rho, held_out
        turning = torch.zeros(self.shape[0], self.shape[0], dtype=torch.float64)
        for k in range(self.shape[0] - 1):
            turning[k, k + 1], turning[k + 1, k] = angle, -angle
        self.turn = torch.matrix_exp(turning)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        channels, length = self.shape
        noise = normal((length, channels), index, "process").double()
        rows = [noise[0]]
        for e in noise[1:]:
            rows.append(self.rho * self.turn @ rows[-1] + (1 - self.rho**2) ** 0.5 * e)
        media = SCALE * torch.stack(rows).T
        return {"media": media.clamp(-1, 1).float(), "id": f"process{index:05d}"}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        return range(self.count - self.out), range(self.count - self.out, self.count)

    def future(self, past: Tensor, horizon: int) -> Normal:
        """What follows a past [C, N] for `horizon` steps, exactly but for clipped values."""
        x, rows = past[:, -1].double(), []
        for _ in range(horizon):
            x = self.rho * self.turn @ x
            rows.append(x)
        steps = torch.arange(1, horizon + 1, dtype=torch.float64)
        deviation = SCALE * (1 - self.rho ** (2 * steps)).sqrt()
        return Normal(torch.stack(rows).T, deviation.expand(len(past), -1))
