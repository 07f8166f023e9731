"""Items whose captions are of one kind, such as those that ask for a number or that leave the style open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from multigen.datasets import CaptionKind, Catalogue, Dataset, Item
from multigen.errors import MediaError, MultigenError

_TRIES = 40  # draws of an item until its caption is of the kind; an item that has none is left out
Stream = Callable[..., torch.Generator]  # numbers and words -> a stream of random numbers of its own


def drawn_of_kind(
    dataset: Dataset, indices: Sequence[int], kind: CaptionKind, n: int, stream: Stream
) -> list[Item]:
    """n draws of the items at `indices`, one after the other, whose captions are of a kind.

    Where one caption is asked for several times, that many follow each other: draws of any training item of the same
    thing, under the caption of the first. MultigenError where no item has such a caption.
    """
    catalogue = dataset.catalogue() if kind.each > 1 else None
    items: list[Item] = []
    turn = 0
    while len(items) < n:
        before = len(items)
        for k, index in enumerate(indices):
            if len(items) >= n:
                break
            first = draw_of_kind(dataset, index, kind, partial(stream, turn, k))
            if first is not None:
                items.append(first)
                if catalogue is not None:
                    more = partial(stream, turn, k, "same")
                    items += [
                        _another(dataset, catalogue, first, kind, partial(more, j))
                        for j in range(kind.each - 1)
                    ]
        if len(items) == before:
            raise MultigenError("evaluate: no caption of the dataset is of a kind that is measured by itself")
        turn += 1
    return items[:n]


def draw_of_kind(dataset: Dataset, index: int, kind: CaptionKind, stream: Stream) -> Item | None:
    """An item drawn until its caption is of the kind; None if it never is, or its file cannot be read."""
    for attempt in range(_TRIES):
        try:
            item = dataset.draw(index, stream(attempt))
        except MediaError:  # the dataset has already reported the file
            return None
        if kind.holds(item["id"]):
            return item
    return None


def _another(dataset: Dataset, catalogue: Catalogue, first: Item, kind: CaptionKind, stream: Stream) -> Item:
    """Another real medium of the thing of an item, under its caption; the item itself where there is none."""
    thing = catalogue.find(first["id"])
    same = [] if thing is None else catalogue.items(thing)
    if not len(same):
        return first
    index = same[int(torch.randint(len(same), (), generator=stream("item")))]
    other = draw_of_kind(dataset, index, kind, stream)
    return first if other is None else {**other, "id": first["id"], "text": first.get("text", "")}
