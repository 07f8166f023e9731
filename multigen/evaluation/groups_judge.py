"""Who judges which group a medium shows: the one whose mean training item is nearest in a feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Real(NamedTuple):
    """Draws of real items: the item and the group that each names, if it names one, and their features [n, w]."""

    items: list[int]
    groups: list[str | None]
    features: Tensor

    def once(self) -> list[str]:
        """The groups that the first draw of each item names: further draws of an item are no further items."""
        first = dict(reversed(list(zip(self.items, self.groups, strict=True))))
        return [group for group in first.values() if group is not None]

    def named(self, group: str) -> int:
        """How many items name a group in any draw."""
        return len({item for item, one in zip(self.items, self.groups, strict=True) if one == group})


class Judge:
    """Judges by the mean features of training items of each group.

    names  of the groups, each of which two items of `seen` name, or more
    seen   draws of training items
    """

    def __init__(self, names: Sequence[str], seen: Real) -> None:
        self.names = list(names)
        self._seen = seen
        member = [[one == name for name in names] for one in seen.groups]
        self._member = torch.tensor(member).to(seen.features)  # [n, groups]
        self._sums, self._counts = self._member.T @ seen.features, self._member.sum(0)
        self._rows: dict[int, list[int]] = {}
        for row, item in enumerate(seen.items):
            self._rows.setdefault(item, []).append(row)

    def __call__(self, features: Tensor) -> list[str]:
        """The group of each row [n, w]."""
        nearest = torch.cdist(features, self._means([])).argmin(1)
        return [self.names[k] for k in nearest.tolist()]

    def of_real(self, real: Real) -> list[str]:
        """The group of each real medium; the means are those of all other items, as they are of what is made."""
        known = [self._rows.get(item, []) for item in real.items]
        apart = [(self._means(own) - row).norm(dim=1) for own, row in zip(known, real.features, strict=True)]
        return [self.names[int(one.argmin())] for one in apart]

    def _means(self, without: Sequence[int]) -> Tensor:
        """[groups, w] of all draws but some."""
        rows = list(without)
        sums = self._sums - self._member[rows].T @ self._seen.features[rows]
        return sums / (self._counts - self._member[rows].sum(0))[:, None]
