"""Losses and gradient norms of updates that the device has not made yet: read when they are there, waited for by none.

Reading a loss at each step would let a GPU stand still while the next step is prepared. So the device itself leaves a
bad update out, and the host learns of it some steps later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LAG = 4  # steps that the host may be ahead


@dataclass(frozen=True)
class Update:
    """An update that was asked for: its step, learning rate, the items of its batch and the names of its values."""

    step: int
    lr: float
    ids: list[str]
    names: tuple[str, ...]


class Verdicts:
    """The values of the last few updates, on their way from the device. With a lag of 0 they are read at once."""

    def __init__(self, device: torch.device, lag: int = LAG) -> None:
        self.device, self.lag = device, lag
        self._waiting: deque[tuple[Update, Tensor, torch.cuda.Event | None]] = deque()

    def add(self, update: Update, values: Tensor) -> None:
        """values [len(update.names)] float64 on the device."""
        if self.device.type != "cuda":
            self._waiting.append((update, values.detach().clone(), None))
            return
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values.detach(), non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._waiting.append((update, host, event))

    def read(self, *, everything: bool = False) -> Iterator[tuple[Update, dict[str, float]]]:
        """Those that are older than the lag, or all; waits for the device to have made them, not for later ones."""
        while len(self._waiting) > (0 if everything else self.lag):
            update, values, event = self._waiting.popleft()
            if event is not None:
                event.synchronize()
            yield update, dict(zip(update.names, values.tolist(), strict=True))
