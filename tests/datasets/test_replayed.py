"""Two datasets as one: the share holds, items of a side come equally often, and labels keep their names."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from multigen.datasets import Dataset, Item
from multigen.datasets.replayed import Replayed
from multigen.errors import RecipeError
from multigen.training.batch import Order


class Things(Dataset):
    """`n` items, the last of which is held out; labels count through the classes."""

    def __init__(self, name: str, n: int, classes: tuple[str, ...] = ()) -> None:
        self.name, self.n, self.classes = name, n, classes

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Item:
        item = Item(media=torch.zeros(1, 2), id=f"{self.name}{index}", text=self.name)
        if self.classes:
            item["label"] = index % len(self.classes)
        return item

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self) -> tuple[range, range]:
        return range(self.n - 1), range(self.n - 1, self.n)


@pytest.mark.parametrize(("new", "old", "share"), [(4, 501, 0.5), (501, 4, 0.25), (11, 11, 0.9), (2, 2, 0.5)])
def test_the_share_holds_and_all_items_of_a_side_are_equal(new: int, old: int, share: float) -> None:
    both = Replayed(Things("new", new), Things("old", old), share)
    train, held = both.split()
    drawn = Counter(both[index]["id"] for index in train)
    olds = [count for name, count in drawn.items() if name.startswith("old")]
    news = [count for name, count in drawn.items() if name.startswith("new")]
    assert (len(news), len(olds)) == (new - 1, old - 1)  # each at least once, and nothing that is held out
    assert max(olds) - min(olds) <= 1
    assert max(news) - min(news) <= 1
    assert sum(olds) / len(train) == pytest.approx(share, abs=1.5 / len(train))
    assert [both[index]["id"] for index in held] == [f"new{new - 1}"]


def test_batches_hold_the_share_on_average() -> None:
    both = Replayed(Things("new", 6), Things("old", 300), 0.5)
    order = Order(both.split()[0], 8, 0)
    rows = [[both.at(order.index(step, k))[0] is both.old for k in range(8)] for step in range(100)]
    assert sum(map(sum, rows)) / 800 == pytest.approx(0.5, abs=0.06)
    assert sum(0 < sum(row) < 8 for row in rows) > 90


def test_labels_are_renumbered_by_name() -> None:
    both = Replayed(Things("new", 3, ("b", "a")), Things("old", 6, ("a", "b", "c")), 0.5)
    assert [both[3 + k].get("label") for k in range(5)] == [1, 0, None, 1, 0]
    assert [both[k].get("label") for k in range(2)] == [0, 1]


def test_nothing_to_mix_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"train\.replay: there is nothing to mix"):
        Replayed(Things("new", 3), Things("old", 1), 0.5)
