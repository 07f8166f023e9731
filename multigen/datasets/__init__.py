"""A dataset is where training media come from. Access is random and without hidden state: item i is always item i."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NotRequired, Protocol, TypedDict

import torch
from torch import Tensor

from multigen.conditioners.beat import Beat
from multigen.conditioners.phones import Spoken
from multigen.modalities.media import Media

NO_FAULTS: Mapping[str, str] = MappingProxyType({})  # `bad` of the built-in sets


class Item(TypedDict):
    """One training example. `id` names it in logs; what else is there depends on the dataset."""

    media: Tensor  # [C, *D] of the modality's natural shape, in [-1, 1]
    id: str
    text: NotRequired[str]
    control: NotRequired[Tensor]  # the picture that a ControlNet is shown, as media are
    label: NotRequired[int]
    beat: NotRequired[Beat]
    condition: NotRequired[Media]  # a medium, of any kind, that the media are made for
    spoken: NotRequired[Spoken]
    voice: NotRequired[str | None]  # who speaks; None: nobody in particular


def _middle(name: str) -> float:
    return 0.5


def _unsaid(name: str) -> None:
    return None


def _unlisted(thing: int) -> Sequence[int]:
    return ()


@dataclass(frozen=True)
class CaptionKind:
    """Captions of training that an evaluation measures as a set of their own.

    holds  an item's id -> whether its caption is of this kind
    each   how many media, of as many seeds, are made for one caption
    """

    holds: Callable[[str], bool]
    each: int = 1


@dataclass(frozen=True)
class Catalogue:
    """The things that a dataset's pictures or videos show, for metrics that look for them.

    names     name of each thing
    pictures  thing -> one or more pictures [C, H, W] in [-1, 1] of it
    find      an item's id -> the thing that the item shows, None for an unknown id
    moment    an item's id -> when in a video the thing is seen best, from 0, the first frame, to 1; else the middle
    styles    names of the styles that captions say
    style     an item's id -> the style that its caption says, None where it says none
    count     an item's id -> how many of the thing its caption asks for, None where it says no number
    items     thing -> the training items that show it
    kinds     captions of training that are measured by themselves, by name
    """

    names: tuple[str, ...]
    pictures: Callable[[int], list[Tensor]]
    find: Callable[[str], int | None]
    moment: Callable[[str], float] = _middle
    styles: tuple[str, ...] = ()
    style: Callable[[str], str | None] = _unsaid
    count: Callable[[str], int | None] = _unsaid
    items: Callable[[int], Sequence[int]] = _unlisted
    kinds: Mapping[str, CaptionKind] = field(default_factory=dict)


class Dataset(Protocol):
    """Indexed media with the captions and labels that a model is conditioned on.

    classes    names of the labels; empty without labels
    bad        media that are left out because they cannot be read: name -> reason
    holds_out  what `split` keeps from training. "media": items. "captions": combinations of words; every thing and
               every word is trained on, in other combinations

    Subclass the protocol to inherit the defaults.
    """

    classes: tuple[str, ...] = ()
    bad: Mapping[str, str] = NO_FAULTS
    holds_out: Literal["media", "captions"] = "media"

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item:
        """The item without augmentation: centre crop, first caption. Deterministic."""
        ...

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item with crop, augmentation and caption drawn from `rng` alone.

        MediaError if its file has become unreadable.
        """
        ...

    def caption(self, index: int, rng: torch.Generator) -> str:
        """A caption of the item, drawn from `rng`; "" for one without. Files tell theirs without their media."""
        return self.draw(index, rng).get("text", "")

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices. Items of one origin, such as a piece of music, stay on one side."""
        ...

    def held_kinds(self) -> Mapping[str, Sequence[int]]:
        """Held-out indices by the kind of combination that training never sees; empty where there is one kind."""
        return {}

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names of the instruments that captions name, sorted; empty for data without instruments."""
        return ()

    def summary(self) -> str:
        """What was found, in one line to be read before training; "" where the set is always the same."""
        return ""

    def captioned(self) -> int | None:
        """How many media have a caption; None where all have."""
        return None

    def catalogue(self) -> Catalogue | None:
        """The things that items show; None if the dataset cannot name them."""
        return None


def found_by(dataset: Dataset) -> tuple[str, int | None]:
    """(`summary`, `captioned`) of a dataset; those of the protocol where it follows it without inheriting from it."""
    if Dataset not in type(dataset).__mro__:
        return "", None
    return dataset.summary(), dataset.captioned()


def caption_of(dataset: Dataset, index: int, rng: torch.Generator) -> str:
    """A drawn caption of an item; that of the protocol where a dataset follows it without inheriting from it."""
    if Dataset not in type(dataset).__mro__:
        return Dataset.caption(dataset, index, rng)
    return dataset.caption(index, rng)


def held_out(ids: Sequence[str], share: float = 0.1) -> tuple[list[int], list[int]]:
    """Training and held-out indices, decided by a hash of each id.

    An id never changes sides as the set grows, and equal ids stay together. Each side has at least one id, unless there
    is only one or `share` is 0: then nothing is held out.
    """
    scores = {i: int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest(), "big") for i in set(ids)}
    order = sorted(scores, key=lambda i: (scores[i], i))
    out = {i for i in order if scores[i] < share * 2**64}
    if share > 0 and not out:
        out = set(order[:1])
    if len(out) == len(order):
        out -= set(order[-1:])
    return [k for k, i in enumerate(ids) if i not in out], [k for k, i in enumerate(ids) if i in out]
