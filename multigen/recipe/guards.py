"""Sections of a recipe against copies of training items, and about groups of media."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from multigen.registry import Part


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
    # Feature in which media are judged, such as {name: thumbnail} for colours; null: that of the evaluation
    judge: Part | None = None
