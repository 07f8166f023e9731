"""Batches of training items, and the order in which items are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen.core.noise import permutation
from multigen.datasets import Item


@dataclass(frozen=True)
class Batch:
    """A batch of items.

    media       [B, C, *D]
    given       what conditioners read, the columns that all items have: "text", "label" ...; a list of length B each
    ids         names of the items, for messages
    bad         files that could not be read: name -> reason
    bad_items   indices of the items that should have come from them
    """

    media: Tensor
    given: dict[str, list[Any]]
    ids: list[str]
    bad: dict[str, str]
    bad_items: frozenset[int]


class Read(NamedTuple):
    """An item, and the unreadable ones that were tried before it: item index -> message of the MediaError."""

    item: Item
    bad: dict[int, str]


def collate(reads: Sequence[Read]) -> Batch:
    """Stack items into one batch."""
    items = [read.item for read in reads]
    keys = [k for k in items[0] if k not in ("media", "id") and all(k in item for item in items)]
    bad = {index: why for read in reads for index, why in read.bad.items()}
    return Batch(
        media=torch.stack([item["media"] for item in items]),
        given={k: [item[k] for item in items] for k in keys},
        ids=[item["id"] for item in items],
        bad={why.partition(": ")[0]: why for why in bad.values()},
        bad_items=frozenset(bad),
    )


@dataclass
class _Epoch:
    """The permutation of one epoch, kept until another is asked for: places rise with the step."""

    number: int = -1
    permutation: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class Order:
    """Which item is at (step, position): the training indices in a new permutation each epoch."""

    indices: Sequence[int]
    batch: int
    seed: int
    _last: _Epoch = field(default_factory=_Epoch, repr=False, compare=False)

    def index(self, step: int, position: int, skip: int = 0) -> int:
        """Return the item index at a place; `skip` above 0 gives its substitutes."""
        epoch, place = divmod(step * self.batch + position, len(self.indices))
        return self.indices[int(self._epoch(epoch)[(place + skip) % len(self.indices)])]

    def _epoch(self, epoch: int) -> Tensor:
        if self._last.number != epoch:
            self._last.permutation = permutation(len(self.indices), self.seed, "order", epoch)
            self._last.number = epoch
        return self._last.permutation
