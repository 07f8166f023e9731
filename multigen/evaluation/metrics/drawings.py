"""Labelled pictures of a dataset's training items, from which a metric's classifier learns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets import Dataset, Item
from multigen.errors import MediaError, RecipeError

_DRAWS = 60  # of training items for each picture that has a label, at most


def labelled(
    dataset: Dataset,
    label: Callable[[Item], int | None],
    picture: Callable[[Item], Tensor],
    n: int,
    what: str,
) -> tuple[Tensor, Tensor]:
    """Pictures [n, C, H, W] of draws of training items that have a label, and their labels [n].

    picture  item -> what is kept of its medium, [C, H, W]
    what     names the metric in the message, and keys the draws

    RecipeError where too few draws have one.
    """
    train = dataset.split()[0]
    pictures: list[Tensor] = []
    labels: list[int] = []
    order: list[int] = []
    for k in range(_DRAWS * n):
        if len(labels) == n:
            break
        if not order:
            order = torch.randperm(len(train), generator=stream(0, what, "order", k)).tolist()
        try:
            item = dataset.draw(train[order.pop()], stream(0, what, k))
        except MediaError:  # the dataset has already reported the file
            continue
        found = label(item)
        if found is not None:
            labels.append(found)
            pictures.append(picture(item))
    if len(labels) < n:
        raise RecipeError(
            f"evaluate.metrics: {what} needs data whose captions say it; of {_DRAWS * n} drawn, {len(labels)} do"
        )
    return torch.stack(pictures), torch.tensor(labels)
