"""A dataset around another one, of which it says what that one says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from multigen.datasets import Catalogue, Dataset, Item, caption_of


class Wrapped(Dataset):
    """The items of another dataset, `whole`, and all else that it says. Subclasses change a part of it."""

    def __init__(self, whole: Dataset) -> None:
        self.whole = whole
        self.classes, self.holds_out = whole.classes, whole.holds_out
        self.bad: Mapping[str, str] = whole.bad

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Item:
        """The item without augmentation."""
        return self.whole[index]

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item with what is drawn from `rng`."""
        return self.whole.draw(index, rng)

    def caption(self, index: int, rng: torch.Generator) -> str:
        """A caption of the item, drawn from `rng`."""
        return caption_of(self.whole, index, rng)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices."""
        return self.whole.split()

    def held_kinds(self) -> Mapping[str, Sequence[int]]:
        """Held-out indices by kind."""
        return self.whole.held_kinds()

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names of the instruments."""
        return self.whole.instruments

    def summary(self) -> str:
        """What was found."""
        return self.whole.summary()

    def captioned(self) -> int | None:
        """How many media have a caption."""
        return self.whole.captioned()

    def catalogue(self) -> Catalogue | None:
        """The things that items show."""
        return self.whole.catalogue()
