"""Exponential moving average (EMA) of parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from multigen.core.copies import changed


class EMA:
    """Averages named parameters: shadow = decay shadow + (1 - decay) parameter, after each step.

    shared_memory  parameters stand in memory that others see, too: averages are copied there

    Early in training the decay is min(decay, (1 + step)/(10 + step)), so that the random initial weights soon fade.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], decay: float, *, shared_memory: bool = False
    ) -> None:
        self.parameters, self.decay, self.shared_memory = dict(parameters), decay, shared_memory
        self.shadow = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int, bad: Tensor | None = None) -> None:
        """Update after optimizer step number `step`, from 1. Nothing changes if `bad`, 0-d on the device, is 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        if bad is not None:
            shadows = list(self.shadow.values())
            # The difference to the parameters, times a factor that only the device knows.
            ahead = torch._foreach_sub(list(self.parameters.values()), shadows)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_mul_(ahead, (1 - decay) * (1 - bad))  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_add_(shadows, ahead)  # pyright: ignore[reportPrivateImportUsage]
            return
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            list(self.shadow.values()), list(self.parameters.values()), 1 - decay
        )

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the averages."""
        for name, shadow in self.shadow.items():
            shadow.copy_(tensors[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Swap the averaged weights into the module inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        if self.shared_memory:
            self._exchange()
            return
        for name, parameter in self.parameters.items():
            parameter.data, self.shadow[name] = self.shadow[name], parameter.data
        changed(self.parameters.values())

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self.parameters.items():
            before = parameter.clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(before)
