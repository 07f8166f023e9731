"""`Cond`: what a backbone is conditioned on, and the protocol of the conditioners that make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.core.upload import upload


@dataclass(frozen=True)
class CondSpec:
    """Widths of what a conditioner gives, 0 where it gives nothing: vector K, tokens K, grid K."""

    vector: int = 0
    tokens: int = 0
    grid: int = 0


@dataclass(frozen=True, eq=False)
class Cond:
    """A batch of conditions; each part is optional.

    vector [B, K] · tokens [B, L, K] with mask [B, L] (bool, True = valid, at least one a row) · grid [B, K, *D]

    ValueError for tokens without a mask, a mask of another shape or type, and parts of different batch sizes; for a
    row without a valid token only where the mask is on the CPU, as looking would stall another device.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    grid: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None and self.mask is not None:
            _check_mask(self.tokens, self.mask)
        elif self.tokens is not None or self.mask is not None:
            raise ValueError("Cond: tokens and mask go together")
        if len({len(part) for part in (self.vector, self.tokens, self.grid) if part is not None}) > 1:
            raise ValueError("Cond: vector, tokens and grid differ in batch size")

    @property
    def batch_size(self) -> int | None:
        """B, or None where there is no part."""
        return next((len(p) for p in (self.vector, self.tokens, self.grid) if p is not None), None)

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
        return self.map(lambda p: upload(p, device))

    def __getitem__(self, index: slice | Tensor | Sequence[int]) -> Cond:
        """Rows of the batch."""
        rows = index if isinstance(index, slice | Tensor) else torch.as_tensor(list(index))
        return self.map(lambda p: p[rows])

    def expand(self, batch_size: int) -> Cond:
        """Repeat a batch of one; itself where it is of that size already. ValueError for any other size."""
        size = self.batch_size
        if size is None or size == batch_size:
            return self
        if size != 1:
            raise ValueError(f"a condition of batch size {size} cannot serve {batch_size} samples")
        return self.map(lambda p: p.expand(batch_size, *p.shape[1:]))

    def pad(self, length: int) -> Cond:
        """Tokens padded with zeros, masked, to `length`, which must not be less than theirs."""
        if self.tokens is None or self.mask is None or self.tokens.shape[1] == length:
            return self
        more = length - self.tokens.shape[1]
        if more < 0:
            raise ValueError(f"Cond: {self.tokens.shape[1]} tokens do not fit in {length}")
        return Cond(
            self.vector,
            F.pad(self.tokens, (0, 0, 0, more)),
            F.pad(self.mask, (0, more), value=False),
            self.grid,
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

    def where(self, keep: Tensor, other: Cond, part: str | None = None) -> Cond:
        """Rows of self where keep [B] (bool), rows of other elsewhere: the condition dropout.

        `part` ("vector", "tokens" or "grid"): of that part alone, the rest stays.
        """
        mine, theirs = _aligned([self, other])
        names = {None: ("vector", "tokens", "mask", "grid"), "tokens": ("tokens", "mask")}.get(part, (part,))

        def chosen(name: str) -> Tensor | None:
            a, b = getattr(mine, name), getattr(theirs, name)
            if a is None or name not in names:
                return a
            return torch.where(keep.to(a.device).reshape(-1, *[1] * (a.ndim - 1)), a, b.to(a.dtype))

        return Cond(chosen("vector"), chosen("tokens"), chosen("mask"), chosen("grid"))


def _check_mask(tokens: Tensor, mask: Tensor) -> None:
    if mask.dtype != torch.bool or mask.shape != tokens.shape[:2]:
        raise ValueError(
            f"Cond: mask must be bool {tuple(tokens.shape[:2])} as the tokens, not {mask.dtype} {tuple(mask.shape)}"
        )
    if mask.device.type == "cpu" and not bool(mask.any(1).all()):
        raise ValueError("Cond: each row needs at least one valid token")


def _aligned(conds: Sequence[Cond]) -> list[Cond]:
    structures = {c.structure for c in conds}
    if len(structures) != 1:
        raise ValueError(
            f"conditions of different structure cannot share a batch: {sorted(map(str, structures))}"
        )
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
