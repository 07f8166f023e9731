"""Metrics (kind "metric"): whether media show what they were made for, one number per medium or per set.

A metric's value means little without a ceiling and a floor. The ceiling is the value for real media through the same
codec. The floor is the value for the same media with the prompts of other media, if the metric reads the prompt; for
one medium again and again, if it compares those of one prompt; and otherwise for noise through the codec. The
evaluation measures all three with the same metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from multigen.evaluation.distances import Estimate
from multigen.modalities.media import Media


@dataclass(frozen=True)
class Target:
    """What a medium should show: the prompt, and the id, label and condition of the dataset item that it came from."""

    prompt: str
    id: str = ""
    label: int | None = None
    condition: Media | None = None


@dataclass(frozen=True)
class Score:
    """Mean and standard error over media, and the value of each medium (NaN if the metric does not apply to it)."""

    value: float
    error: float
    values: tuple[float, ...] = ()

    @staticmethod
    def of(values: Tensor | Sequence[float]) -> Score:
        """The score of values [n]; NaN values are left out of the mean, which is NaN if no value remains."""
        every = torch.as_tensor(values, dtype=torch.float64)
        known = every[~every.isnan()]
        if not len(known):
            return Score(math.nan, math.nan, tuple(every.tolist()))
        error = float(known.std() / len(known) ** 0.5) if len(known) > 1 else math.nan
        return Score(float(known.mean()), error, tuple(every.tolist()))

    @property
    def estimate(self) -> Estimate:
        """Mean and standard error alone."""
        return Estimate(self.value, self.error)


class Metric(Protocol):
    """Built through the registry for one modality and dataset.

    better  "higher", "lower", or "real": the value of real media is the best
    reads   "prompt": the floor is the same media with other prompts; "media": the floor is noise; "seeds": the floor
            is the first medium of each prompt in place of its others
    about   one sentence for the report
    """

    better: Literal["higher", "lower", "real"]
    reads: Literal["prompt", "media", "seeds"]
    about: str

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """The score of media [C, *D] in [-1, 1], each with its target."""
        ...


def skill(value: float, floor: float, ceiling: float) -> float:
    """(value - floor) / (ceiling - floor): 0 at the floor, 1 at the ceiling; NaN if the two are equal."""
    return (value - floor) / (ceiling - floor) if ceiling != floor else math.nan


def shuffled(targets: Sequence[Target], seed: int = 0) -> list[Target]:
    """Each medium with the target of another one: a permutation, keyed by the seed, without fixed points."""
    if len(targets) < 2:
        return list(targets)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed)).tolist()
    source = dict(zip(order, order[1:] + order[:1], strict=True))  # one cycle through all
    return [targets[source[k]] for k in range(len(targets))]


def repeated(media: Sequence[Tensor], targets: Sequence[Target]) -> list[Tensor]:
    """The first medium of each prompt in place of its others."""
    first: dict[str, Tensor] = {}
    return [first.setdefault(target.prompt, medium) for medium, target in zip(media, targets, strict=True)]
