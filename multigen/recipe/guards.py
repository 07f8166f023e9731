"""What of a recipe guards its media: filters of prompts and media, and copies of training items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from multigen.recipe.unsaid import UNSAID_EMPTY
from multigen.registry import Part


@dataclass(frozen=True)
class Safety:
    """What looks at prompts and finished media, and what is done with what it finds."""

    # Filters and their actions, such as [words, {name: nsfw, threshold: 0.8, action: blur}]
    filters: tuple[Part, ...] = field(default=(), metadata={UNSAID_EMPTY: True})
    # Whether the `safety_checker` of a Stable Diffusion folder looks at its pictures; null: where there is one
    checker: Literal["off"] | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # File with a JSON line for each finding, without the prompt or the medium; null: none
    log: str | None = field(default=None, metadata={UNSAID_EMPTY: True})


@dataclass(frozen=True)
class Novelty:
    """Media that lie too near to a training item, in the features of the evaluation, are made again."""

    # Too near: nearer than this share of the training items is to the nearest other one
    share: float = 0.05
    distance: float | None = None  # or this distance in the features; null: as `share` finds it
    tries: int = 4  # how often a medium is made again at most; then the farthest stays
    bank: int = 2000  # largest number of training items that are compared with, evenly spread


@dataclass(frozen=True)
class Groups:
    """Groups whose quality and share of the outputs are measured, beside those of the training data."""

    # Group -> words that name it in captions, such as {red: [red, crimson], blue: []}; empty: the classes of the data
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    neutral: tuple[str, ...] = ("",)  # prompts that name no group
    n: int = 100  # media for these prompts, all together
