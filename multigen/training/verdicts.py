"""Losses and gradient norms of recent updates, read when the device has computed them.

Reading the loss at each step would let a GPU idle while the host prepares the next one. So the device itself skips a
bad update, and the host learns of it some steps later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LAG = 4  # steps that the host may be ahead of the device


@dataclass(frozen=True)
class Update:
    """An update: its step, learning rate, the items of its batch, and the names of its values."""

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
        """Add the values of an update, [len(update.names)] float64 on the device."""
        if self.device.type != "cuda":
            self._waiting.append((update, values.detach().clone(), None))
            return
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values.detach(), non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._waiting.append((update, host, event))

    def read(self, *, everything: bool = False) -> Iterator[tuple[Update, dict[str, float]]]:
        """Yield the updates older than the lag, or everything. Waits until the device has computed them, not longer."""
        while len(self._waiting) > (0 if everything else self.lag):
            update, values, event = self._waiting.popleft()
            if event is not None:
                event.synchronize()
            yield update, dict(zip(update.names, values.tolist(), strict=True))
