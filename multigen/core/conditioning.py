"""Conditions: what a backbone sees beside the noisy sample.

A `Cond` holds up to four parts, each a batch:

    vector  [B, K]           one vector a sample: a class, a pooled prompt
    tokens  [B, L, K]        a sequence for cross-attention, with mask [B, L]: True where a token is valid
    grid    [B, K, *D]       values on the sample's own grid: the mask channels of inpainting
    extra   [B, ...] each    what some networks take besides, by name: ids of size and crop, a guidance scale, a second
                             sequence of text

Training replaces the condition of a share of the samples with the null condition, row by row (`Cond.where`), so that
one network learns both predictions of classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, algorithm 1).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.core.upload import upload


@dataclass(frozen=True)
class CondSpec:
    """Widths K of the parts that a conditioner gives, 0 for a part that it does not give.

    shown  how many of the grid's channels, the last ones, are none of the conditioner's: what is known of a sample
           (`core.masks`), or the stage before
    """

    vector: int = 0
    tokens: int = 0
    grid: int = 0
    shown: int = 0


class _Parts(NamedTuple):
    """The four tensors of a `Cond`, in the order of its fields."""

    vector: Tensor | None
    tokens: Tensor | None
    mask: Tensor | None
    grid: Tensor | None


@dataclass(frozen=True, eq=False)
class Cond:
    """A batch of conditions; each part is optional.

    vector  [B, K]
    tokens  [B, L, K], always with a mask
    mask    [B, L] bool, True for a valid token; every row has at least one
    grid    [B, K, *D]
    extra   name -> [B, ...]

    Raises ValueError for tokens without a mask, for a mask of another shape or dtype, and for parts that differ in
    batch size. A row without a valid token is refused only where the mask is on the CPU: reading it would stall
    another device.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    grid: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tokens is not None and self.mask is not None:
            _check_mask(self.tokens, self.mask)
        elif self.tokens is not None or self.mask is not None:
            raise ValueError("Cond: tokens and mask must be given together")
        if len({len(part) for part in self._batches}) > 1:
            raise ValueError("Cond: vector, tokens, grid and extra differ in batch size")

    @functools.cached_property
    def batch_size(self) -> int | None:
        """B, or None for a condition without parts."""
        return next((len(p) for p in self._batches), None)

    @functools.cached_property
    def structure(self) -> tuple[object, ...]:
        """Which parts there are and how wide. Conditions of equal structure can share a network call."""
        return (
            None if self.vector is None else self.vector.shape[1],
            None if self.tokens is None else self.tokens.shape[2],
            None if self.grid is None else tuple(self.grid.shape[1:]),
            *((name, tuple(self.extra[name].shape[1:])) for name in sorted(self.extra)),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Cond:
        """Apply a function to every tensor."""
        extra = {name: function(p) for name, p in self.extra.items()}
        return Cond(*(None if p is None else function(p) for p in self._parts), extra=extra)

    def to(self, device: torch.device | str) -> Cond:
        """Move every tensor to a device."""
        return self.map(lambda p: upload(p, device))

    def __getitem__(self, index: slice | Tensor | Sequence[int]) -> Cond:
        """Select rows of the batch."""
        rows = index if isinstance(index, slice | Tensor) else torch.as_tensor(list(index))
        return self.map(lambda p: p[rows])

    def expand(self, batch_size: int) -> Cond:
        """Repeat a batch of one; return a batch of `batch_size` as it is. ValueError for any other size."""
        size = self.batch_size
        if size is None or size == batch_size:
            return self
        if size != 1:
            raise ValueError(f"a condition of batch size {size} cannot serve {batch_size} samples")
        return self.map(lambda p: p.expand(batch_size, *p.shape[1:]))

    def pad(self, length: int) -> Cond:
        """Pad the tokens to `length` with masked zeros. ValueError if there are more tokens than that."""
        if self.tokens is None or self.mask is None or self.tokens.shape[1] == length:
            return self
        more = length - self.tokens.shape[1]
        if more < 0:
            raise ValueError(f"Cond: {self.tokens.shape[1]} tokens do not fit in {length}")
        tokens, mask = F.pad(self.tokens, (0, 0, 0, more)), F.pad(self.mask, (0, more), value=False)
        return dataclasses.replace(self, tokens=tokens, mask=mask)

    def with_grid(self, grid: Tensor) -> Cond:
        """Replace the grid; one row is repeated for the whole batch."""
        size = self.batch_size
        rows = grid if size in (None, len(grid)) else grid.expand(size, *grid.shape[1:])
        return dataclasses.replace(self, grid=rows)

    def with_grid_of(self, other: Cond) -> Cond:
        """Take the grid of another condition, if it has one."""
        return self if other.grid is None else self.with_grid(other.grid)

    def without_grid(self, like: Cond) -> Cond:
        """A grid of zeros where another condition has a grid: nothing is said along the medium."""
        return self if like.grid is None else self.with_grid(torch.zeros_like(like.grid))

    def join_grid(self, grid: Tensor) -> Cond:
        """Add channels to the grid, [B, K, *D]; one row is repeated for the whole batch."""
        if self.grid is None:
            return self.with_grid(grid)
        joined = torch.cat([self.grid, grid.expand(len(self.grid), *grid.shape[1:])], dim=1)
        return dataclasses.replace(self, grid=joined)

    def with_extra(self, name: str, values: Tensor) -> Cond:
        """Replace one value of `extra`, or add it; one row is repeated for the whole batch."""
        size = self.batch_size
        rows = values if size in (None, len(values)) else values.expand(size, *values.shape[1:])
        return dataclasses.replace(self, extra={**self.extra, name: rows})

    @staticmethod
    def cat(conds: Sequence[Cond]) -> Cond:
        """Concatenate batches, tokens padded to the longest. ValueError if their structures differ."""
        conds = _aligned(conds)
        if len(conds) == 1:
            return conds[0]
        columns = zip(*(c._parts for c in conds), strict=True)
        joined = ([p for p in column if p is not None] for column in columns)
        extra = {name: torch.cat([c.extra[name] for c in conds]) for name in conds[0].extra}
        return Cond(*(torch.cat(parts) if parts else None for parts in joined), extra=extra)

    def where(self, keep: Tensor, other: Cond, part: str | None = None) -> Cond:
        """Take rows of self where `keep` [B] (bool) is True, and rows of `other` elsewhere: condition dropout.

        `part` limits the choice to one part; the others stay as they are.
        """
        mine, theirs = _aligned([self, other])
        names = {None: _Parts._fields, "tokens": ("tokens", "mask")}.get(part, (part,))

        def chosen(name: str, a: Tensor | None, b: Tensor | None) -> Tensor | None:
            if a is None or b is None or name not in names:
                return a
            return torch.where(keep.to(a.device).reshape(-1, *[1] * (a.ndim - 1)), a, b.to(a.dtype))

        names = (*names, *(mine.extra if part is None else ()))
        extra = {name: chosen(name, values, theirs.extra[name]) for name, values in mine.extra.items()}
        kept = {name: values for name, values in extra.items() if values is not None}
        return Cond(*map(chosen, _Parts._fields, mine._parts, theirs._parts), extra=kept)

    @property
    def _batches(self) -> list[Tensor]:
        """Every tensor that has rows, but the mask."""
        return [p for p in (self.vector, self.tokens, self.grid, *self.extra.values()) if p is not None]

    @property
    def _parts(self) -> _Parts:
        return _Parts(self.vector, self.tokens, self.mask, self.grid)


def _check_mask(tokens: Tensor, mask: Tensor) -> None:
    if mask.dtype != torch.bool or mask.shape != tokens.shape[:2]:
        wanted, given = tuple(tokens.shape[:2]), tuple(mask.shape)
        raise ValueError(f"Cond: mask is {mask.dtype} {given}; the tokens need torch.bool {wanted}")
    if mask.device.type == "cpu" and not bool(mask.any(1).all()):
        raise ValueError("Cond: every row needs at least one valid token")


def _aligned(conds: Sequence[Cond]) -> list[Cond]:
    """The conditions with tokens padded to one length."""
    structures = {c.structure for c in conds}
    if len(structures) != 1:
        found = sorted(map(str, structures))
        raise ValueError(f"conditions of different structure cannot share a batch: {found}")
    length = max((0 if c.tokens is None else c.tokens.shape[1]) for c in conds)
    return [c.pad(length) for c in conds]
