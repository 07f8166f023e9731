"""A dataset of which some training items are left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from multigen.datasets import Catalogue, Dataset, Item


class Fewer(Dataset):
    """Another dataset without some of its training items; all else, the indices among it, is that one's.

    dropped  indices that are not trained on
    """

    def __init__(self, dataset: Dataset, dropped: Collection[int]) -> None:
        self.whole, self.dropped = dataset, frozenset(dropped)
        self.classes, self.holds_out = dataset.classes, dataset.holds_out
        self.bad: Mapping[str, str] = dataset.bad

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Item:
        """The item without augmentation."""
        return self.whole[index]

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item with what is drawn from `rng`."""
        return self.whole.draw(index, rng)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training indices that are left, and held-out ones."""
        train, held = self.whole.split()
        return [index for index in train if index not in self.dropped], held

    def held_kinds(self) -> Mapping[str, Sequence[int]]:
        """Those of the whole."""
        return self.whole.held_kinds()

    @property
    def instruments(self) -> tuple[str, ...]:
        """Those of the whole."""
        return self.whole.instruments

    def summary(self) -> str:
        """What was found, of the whole."""
        return self.whole.summary()

    def captioned(self) -> int | None:
        """How many media of the whole have a caption."""
        return self.whole.captioned()

    def catalogue(self) -> Catalogue | None:
        """The things that items show, of the whole."""
        return self.whole.catalogue()
