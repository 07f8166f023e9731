"""Cascades: how a stage sees what the stage before it made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.modalities import Modality


class Link(ABC):
    """What a network takes from the stage before it.

    width     number of channels of `Cond.grid` that it takes; 0: none
    level     the noise level that sampling adds
    replaces  an edit gives a medium in place of what the stage before makes; False: edits are made as elsewhere
    hint      what to do where there is neither a stage before nor a medium in its place
    """

    width: int
    level: float
    replaces: bool
    hint: str

    @abstractmethod
    def before(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape [C, *d] of what the stage before makes for media [C, *D]; None: always the same."""

    @abstractmethod
    def seen(self, former: Tensor, size: tuple[int, ...]) -> Tensor:
        """Turn media [B, C, *d] of the stage before into what noise is added to, for media of `size` [*D]."""

    @abstractmethod
    def condition(self, seen: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Add noise, of the shape of `seen` [B, ...], at each row's level [B]."""

    @abstractmethod
    def told(self, cond: Cond, condition: Tensor, crop: Callable[[Tensor], Tensor]) -> Cond:
        """Return a call's condition with that of the stage before; a sliding window sees what `crop` leaves of it."""

    def mark(self, cond: Cond, conditional: bool) -> Cond:
        """Mark conditional and unconditional calls for `told`. By default both are told the same."""
        return cond

    def blank(self, cond: Cond) -> Cond:
        """Return a condition as that of a call whose stage before made zeros. By default `Cond.grid` says all."""
        return cond

    def follow(self, former: Modality) -> None:  # noqa: B027
        """Learn what the stage before makes. ValueError where the network cannot take that."""


class Cascade(Link):
    """The condition that a network takes from the stage before it, as channels of `Cond.grid`.

    noise  the largest noise level that training adds to the condition, from 0 to below 1
    """

    noise: float
    replaces = True
    hint = (
        "it makes of a medium a finer one. Name the stage that makes the medium, stages=[image_emoji], or give one: "
        "multigen edit {name} --input FILE"
    )

    @abstractmethod
    def before(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape [C, *d] of what the stage before makes for media [C, *D]."""

    @abstractmethod
    def after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape [C, *D] of media that are made of one of the stage before, [C, *d]."""

    @abstractmethod
    def reduced(self, media: Tensor) -> Tensor:
        """Make of media [B, C, *D] what the stage before would have made, [B, C, *d]: the pairs of a training."""

    def told(self, cond: Cond, condition: Tensor, crop: Callable[[Tensor], Tensor]) -> Cond:
        """Join the condition [1, width, *D] to the grid."""
        return cond.join_grid(crop(condition))
