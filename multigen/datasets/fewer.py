"""A dataset of which some training items are left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from multigen.datasets import Dataset
from multigen.datasets.wrapped import Wrapped


class Fewer(Wrapped):
    """Another dataset without some of its training items; all else, the indices among it, is that one's.

    dropped  indices that are not trained on
    """

    def __init__(self, dataset: Dataset, dropped: Collection[int]) -> None:
        super().__init__(dataset)
        self.dropped = frozenset(dropped)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training indices that are left, and held-out ones."""
        train, held = self.whole.split()
        return [index for index in train if index not in self.dropped], held
