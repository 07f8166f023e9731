"""A dataset is where training media come from. Random access, no hidden state: item i is item i."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NotRequired, Protocol, TypedDict

import torch
from torch import Tensor


class Item(TypedDict):
    """One training example. `id` names it in logs; "text" and "label" where the dataset has them."""

    media: Tensor  # [C, *D] of the modality's natural shape, in [-1, 1]
    id: str
    text: NotRequired[str]
    label: NotRequired[int]


class Dataset(Protocol):
    """Indexed media with what they are conditioned on."""

    classes: tuple[str, ...]  # names of the labels; empty without labels
    bad: Mapping[str, str]  # media left out because they cannot be read: name -> why; empty for built-in sets

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item:
        """Item without augmentation: centre crop, first caption. Deterministic."""
        ...

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """Item with crop, augmentation and caption drawn from `rng` alone. MediaError if its file went bad."""
        ...

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Indices for training and held out. Items of one origin (a piece of music) stay on one side."""
        ...


@dataclass(frozen=True)
class Catalogue:
    """What a dataset's pictures or videos show, for measures that look for it."""

    names: tuple[str, ...]
    pictures: Callable[[int], list[Tensor]]  # of a thing: one or more [C, H, W] in [-1, 1]
    find: Callable[[str], int | None]  # from an item's id to the thing that it shows


NO_FAULTS: Mapping[str, str] = MappingProxyType({})  # `bad` of the built-in sets


def held_out(ids: Sequence[str], share: float = 0.1) -> tuple[list[int], list[int]]:
    """Split by a hash of each id, so that an id's side never changes as the set grows and equal ids stay together.

    At least one id stands on each side, unless there is one only or `share` is 0: then nothing is held out.
    """
    scores = {i: int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest(), "big") for i in set(ids)}
    order = sorted(scores, key=lambda i: (scores[i], i))
    out = {i for i in order if scores[i] < share * 2**64}
    if share > 0 and not out:
        out = set(order[:1])
    if len(out) == len(order):
        out -= set(order[-1:])
    return [k for k, i in enumerate(ids) if i not in out], [k for k, i in enumerate(ids) if i in out]
