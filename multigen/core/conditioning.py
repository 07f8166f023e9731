"""`Cond`: what a backbone is conditioned on, and the protocol of the conditioners that make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class CondSpec:
    """Widths of what a conditioner gives, 0 where it gives nothing: vector K, tokens K, grid K."""

    vector: int = 0
    tokens: int = 0
    grid: int = 0


@dataclass(frozen=True)
class Cond:
    """A batch of conditions; each part is optional.

    vector [B, K] · tokens [B, L, K] with mask [B, L] (bool, True = valid, at least one a row) · grid [B, K, *D]
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    grid: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) != (self.mask is None):
            raise ValueError("Cond: tokens and mask go together")

    @property
    def structure(self) -> tuple[object, ...]:
        """What must be equal for two conditions to share a network call: which parts, and their widths."""
        return (
            None if self.vector is None else self.vector.shape[1],
            None if self.tokens is None else self.tokens.shape[2],
            None if self.grid is None else tuple(self.grid.shape[1:]),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Cond:
        """Apply a function to each part that is there."""
        parts = (self.vector, self.tokens, self.mask, self.grid)
        return Cond(*(None if p is None else function(p) for p in parts))

    def to(self, device: torch.device | str) -> Cond:
        return self.map(lambda p: p.to(device, non_blocking=True))

    def __getitem__(self, index: slice | Tensor | Sequence[int]) -> Cond:
        """Rows of the batch."""
        rows = index if isinstance(index, slice | Tensor) else torch.as_tensor(list(index))
        return self.map(lambda p: p[rows])

    def expand(self, batch_size: int) -> Cond:
        """Repeat a batch of one."""
        return self.map(lambda p: p.expand(batch_size, *p.shape[1:]))

    def pad(self, length: int) -> Cond:
        """Tokens padded with zeros, masked, to `length`."""
        if self.tokens is None or self.mask is None or self.tokens.shape[1] == length:
            return self
        more = length - self.tokens.shape[1]
        return Cond(
            self.vector, F.pad(self.tokens, (0, 0, 0, more)), F.pad(self.mask, (0, more), value=False), self.grid
        )

    @staticmethod
    def cat(conds: Sequence[Cond]) -> Cond:
        """One batch of several, tokens padded to the longest; differing structures raise."""
        conds = _aligned(conds)
        if len(conds) == 1:
            return conds[0]
        first = conds[0]

        def joined(name: str) -> Tensor | None:
            return None if getattr(first, name) is None else torch.cat([getattr(c, name) for c in conds])

        return Cond(joined("vector"), joined("tokens"), joined("mask"), joined("grid"))

    def where(self, keep: Tensor, other: Cond) -> Cond:
        """Rows of self where keep [B] (bool), rows of other elsewhere: the condition dropout."""
        mine, theirs = _aligned([self, other])

        def chosen(name: str) -> Tensor | None:
            a, b = getattr(mine, name), getattr(theirs, name)
            if a is None:
                return None
            return torch.where(keep.to(a.device).reshape(-1, *[1] * (a.ndim - 1)), a, b.to(a.dtype))

        return Cond(chosen("vector"), chosen("tokens"), chosen("mask"), chosen("grid"))


def _aligned(conds: Sequence[Cond]) -> list[Cond]:
    structures = {c.structure for c in conds}
    if len(structures) != 1:
        raise ValueError(f"conditions of different structure cannot share a batch: {sorted(map(str, structures))}")
    length = max((0 if c.tokens is None else c.tokens.shape[1]) for c in conds)
    return [c.pad(length) for c in conds]


class Conditioner(Protocol):
    """Turns prompts and labels into `Cond`. An `nn.Module`: what it learns is trained, averaged and saved."""

    spec: CondSpec

    def __call__(self, batch: Mapping[str, Any]) -> Cond:
        """`batch` holds what items or `request` give, each a sequence of length B ("text", "label", ...)."""
        ...

    def null(self, batch_size: int) -> Cond:
        """The condition of no prompt."""
        ...

    def request(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """The batch that stands for a user's prompts; ValueError for a prompt that it cannot take."""
        ...
