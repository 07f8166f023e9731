"""Cascades: how a stage sees the medium that the stage before it made."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Cascade(ABC):
    """The condition that a network takes from the stage before it, as channels of `Cond.grid`.

    width  number of those channels
    noise  the largest noise level that training adds to the condition, from 0 to below 1
    level  the noise level that sampling adds
    """

    width: int
    noise: float
    level: float

    @abstractmethod
    def before(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape [C, *d] of what the stage before makes for media [C, *D]."""

    @abstractmethod
    def after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape [C, *D] of media that are made of one of the stage before, [C, *d]."""

    @abstractmethod
    def reduced(self, media: Tensor) -> Tensor:
        """Make of media [B, C, *D] what the stage before would have made, [B, C, *d]: the pairs of a training."""

    @abstractmethod
    def seen(self, former: Tensor, size: tuple[int, ...]) -> Tensor:
        """Turn media [B, C, *d] of the stage before into model space [B, C', *D'], for media of `size` [*D]."""

    @abstractmethod
    def condition(self, seen: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Add noise [B, C', *D'] at each row's level [B]: the condition [B, width, *D']."""
