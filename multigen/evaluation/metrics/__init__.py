"""Metrics (kind "metric"): what is asked of media and seen or heard in them, one number a medium or a set.

A metric says nothing without its ceiling (real media through the same codec) and its floor: for one that reads the
prompt, the same media with the prompts of others; for the rest, noise through the codec. The evaluator measures all
three with the same metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from multigen.evaluation.distances import Estimate


@dataclass(frozen=True)
class Wanted:
    """What a medium was made for: the prompt, and the id and label of the dataset's item that it came with."""

    prompt: str
    id: str = ""
    label: int | None = None


@dataclass(frozen=True)
class Score:
    """Mean and standard error over media, and each medium's own value (NaN where the metric says nothing of it)."""

    value: float
    error: float
    values: tuple[float, ...] = ()

    @staticmethod
    def of(values: Tensor | Sequence[float]) -> Score:
        """Mean of [n] values without the NaN ones; NaN of none."""
        every = torch.as_tensor(values, dtype=torch.float64)
        known = every[~every.isnan()]
        if not len(known):
            return Score(math.nan, math.nan, tuple(every.tolist()))
        error = float(known.std() / len(known) ** 0.5) if len(known) > 1 else math.nan
        return Score(float(known.mean()), error, tuple(every.tolist()))

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.value, self.error)


class Metric(Protocol):
    """Built through the registry for one modality and dataset.

    better   "higher", "lower", or "real": where real media are
    reads    "prompt": its floor is the same media with other prompts; "media": noise is its floor
    about    one sentence for the report
    """

    better: Literal["higher", "lower", "real"]
    reads: Literal["prompt", "media"]
    about: str

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """Media [C, *D] in [-1, 1] and what each was made for."""
        ...


def skill(value: float, floor: float, ceiling: float) -> float:
    """(value - floor) / (ceiling - floor): 0 like the floor, 1 like real media; NaN where the two are the same."""
    return (value - floor) / (ceiling - floor) if ceiling != floor else math.nan


def others(wanted: Sequence[Wanted], seed: int = 0) -> list[Wanted]:
    """Each medium with the request of another one: a keyed shuffle by which none keeps its own place."""
    if len(wanted) < 2:
        return list(wanted)
    order = torch.randperm(len(wanted), generator=torch.Generator().manual_seed(seed)).tolist()
    given = dict(zip(order, order[1:] + order[:1], strict=True))  # one cycle through all
    return [wanted[given[k]] for k in range(len(wanted))]
