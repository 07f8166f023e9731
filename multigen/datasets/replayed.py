"""Two datasets as one: what is learned now, and what was learned before and shall stay."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

from multigen.datasets import Dataset, Item, caption_of
from multigen.datasets.wrapped import Wrapped
from multigen.errors import RecipeError


class Replayed(Wrapped):
    """The items of `new`, then those of `old`; of what is trained on, a share is old.

    share  of the training indices that are old, from 0.01 to 0.99, as the list grows with its odds. The items of either
           side come as often as each other, within one

    All else is that of `new`: classes, catalogue, what is held out. Labels of old items are renumbered by the names of
    their classes; where `new` lacks one, they go. RecipeError where one side has nothing to train on.
    """

    def __init__(self, new: Dataset, old: Dataset, share: float) -> None:
        super().__init__(new)
        self.old = old
        self.bad = {**old.bad, **new.bad}
        self._labels = _renumbered(old.classes, new.classes)
        self._train = _mixed(new.split()[0], [len(new) + k for k in old.split()[0]], share)

    def __len__(self) -> int:
        return len(self.whole) + len(self.old)

    def __getitem__(self, index: int) -> Item:
        """The item without augmentation."""
        dataset, place = self.at(index)
        return self._own(dataset[place], dataset is self.old)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item with what is drawn from `rng`."""
        dataset, place = self.at(index)
        return self._own(dataset.draw(place, rng), dataset is self.old)

    def caption(self, index: int, rng: torch.Generator) -> str:
        """A caption of the item, drawn from `rng`."""
        dataset, place = self.at(index)
        return caption_of(dataset, place, rng)

    def at(self, index: int) -> tuple[Dataset, int]:
        """The dataset of an item, and its index there."""
        return (self.whole, index) if index < len(self.whole) else (self.old, index - len(self.whole))

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training indices, each as often as the share asks for, and the held-out ones of `new`."""
        return self._train, self.whole.split()[1]

    @property
    def instruments(self) -> tuple[str, ...]:
        """Those of both."""
        return tuple(sorted({*self.whole.instruments, *self.old.instruments}))

    def _own(self, item: Item, old: bool) -> Item:
        label = item.get("label")
        if not old or label is None or label >= len(self._labels):
            return item
        number = self._labels[label]
        if number is None:
            del item["label"]
        else:
            item["label"] = number
        return item


def _mixed(new: Sequence[int], old: Sequence[int], share: float) -> list[int]:
    """Indices of both, of which `share` are old: as few as show each at least once."""
    if not len(new) or not len(old):
        raise RecipeError("train.replay: there is nothing to mix, as one side has no item to train on")
    # One more each where rounding would leave a side without some of its items.
    length = math.ceil(max(len(new) / (1 - share), len(old) / share)) + 1
    many = max(round(length * share), len(old))
    few = max(length - many, len(new))
    return [
        *itertools.islice(itertools.cycle(new), few),
        *itertools.islice(itertools.cycle(old), many),
    ]


def _renumbered(old: Sequence[str], new: Sequence[str]) -> list[int | None]:
    """The number in `new` of each class of `old`, None for one that it lacks."""
    return [new.index(name) if name in new else None for name in old]
