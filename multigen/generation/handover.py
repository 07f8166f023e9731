"""Hand-over: two models share the way from noise to data. The stage before walks the first part of it.

Balaji et al. 2022 (arXiv:2211.01324), section 4; the refiner of Podell et al. 2023 (arXiv:2307.01952), section 2.5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.errors import MultigenError
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request
from multigen.recipe.schema import Recipe

_SLACK = 1e-9  # in t
_NEAR = 1e-6  # log-SNR that two schedules may differ by and be one


def takes_over(parts: ModelParts, request: Request) -> bool:
    """Whether a model goes on with what the stage before leaves in noise. An edit is made by the model alone."""
    return parts.recipe.sample.handover is not None and request.edit is None and parts.former is not None


def later(schedule: Schedule, recipe: Recipe, ts: Tensor) -> Tensor:
    """The part of a grid that a model walks itself. MultigenError where nothing is left."""
    own = ts[ts < _time(schedule, _share(recipe)) - _SLACK]
    if len(own) < 2:
        raise _nothing(recipe, ts, "the model itself")
    return own


def earlier(schedule: Schedule, recipe: Recipe, ts: Tensor, parts: ModelParts, end: Tensor) -> Tensor:
    """The part of the former's grid before the hand-over, which is where `parts` begins, at `end` (0-d).

    schedule  of the former
    """
    snr = parts.denoiser.schedule.log_snr(end.reshape(1))
    there = end.reshape(1) if _same(schedule.log_snr(end.reshape(1)), snr) else schedule.inverse(snr)
    first = ts[ts >= torch.clamp_min(there, _time(schedule, _share(recipe))) - _SLACK]
    first = first[first > there + _SLACK]
    if not len(first):
        raise _nothing(recipe, ts, "the stage before")
    return torch.cat([first, there])


def handed(parts: ModelParts, before: ModelParts, x: Tensor, there: Tensor, here: Tensor) -> Tensor:
    """A sample [1, C, *D] of the stage before at its time `there` as one of this model at its time `here`, 0-d each."""
    theirs = before.denoiser.schedule(there.reshape(1)).alpha
    ours = parts.denoiser.schedule(here.reshape(1)).alpha
    return x * float(ours / theirs)


def check_space(parts: ModelParts, shape: tuple[int, ...], before: tuple[int, ...]) -> None:
    """MultigenError for a stage before that works on samples of another shape."""
    if shape != before:
        raise MultigenError(
            f"stages: {parts.recipe.stages[-1]} hands over samples of {list(before)}; {parts.recipe.name} takes "
            f"{list(shape)}"
        )


def _share(recipe: Recipe) -> float:
    assert recipe.sample.handover is not None
    return recipe.sample.handover


def _time(schedule: Schedule, share: float) -> float:
    """The time from which the stage before walks. Of a table that is the time of an index, as diffusers has it."""
    n = schedule.steps
    return 1 - share if n is None else (round(n - share * n) + 1) / n


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=_NEAR)


def _nothing(recipe: Recipe, ts: Tensor, who: str) -> MultigenError:
    steps = len(ts) - 1
    return MultigenError(
        f"sample.handover: {_share(recipe)} of {steps} steps leaves none to {who}; take more steps, or another share"
    )
