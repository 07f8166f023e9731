"""Purification: a source, or a condition, is noised a little and denoised by the model before it conditions anything.

    x_t = alpha x0 + sigma eps at sigma/alpha = `purify`, then the sampler's steps from t to 0, unconditional

Nie et al. 2022 (arXiv:2205.07460), eq. 4 and 5: what was added to a source to mislead a network drowns in the noise,
and what the model knows of media comes back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from multigen.core import edits
from multigen.core.samplers import NoiseSource, Trajectory, polish_time
from multigen.errors import MultigenError, errors_at
from multigen.generation.edit import EditPlan
from multigen.generation.parts import ModelParts
from multigen.generation.request import EditRequest, Request
from multigen.options import PURIFY_CONDITION

_LEAST = 4  # steps, whatever the grid of the request is
_MOST = 1024  # steps of a whole grid of which those are a part


def purified_plan(
    parts: ModelParts,
    edit: EditPlan | None,
    asked: EditRequest | None,
    grid: Callable[[int], Tensor],
    steps: int,
) -> EditPlan | None:
    """An edit with the times [n+1] that its source walks first, where its request asks for that.

    grid   the times of a whole trajectory, by its number of steps
    steps  of the request

    MultigenError for a level that the schedule does not reach, and for a network that cannot be without its source.
    """
    if edit is None or asked is None or asked.purify is None:
        return edit
    _check_makes(parts)
    with errors_at("purify"):
        start = polish_time(parts.denoiser.schedule, asked.purify).double().reshape(1)
    below, table = _below(grid(steps), start), parts.denoiser.schedule.steps
    while len(below) < _LEAST and 2 * steps <= min(_MOST, table or _MOST):
        steps *= 2
        below = _below(grid(steps), start)
    ts = torch.cat([start, below])
    parts.denoiser.remember(ts)
    return dataclasses.replace(edit, purifying=ts)


def _below(ts: Tensor, start: Tensor) -> Tensor:
    """What of a grid lies under its beginning; at least its end."""
    return torch.cat([ts[:-1][ts[:-1] < start * (1 - 1e-6)], ts[-1:]])


def _check_makes(parts: ModelParts) -> None:
    """MultigenError for a network that denoises nothing by itself."""
    backbone = parts.denoiser.backbone
    if backbone.begins or (backbone.sees_known and not parts.recipe.masked):
        raise MultigenError(
            f"purify: {parts.recipe.name} looks at its source itself, and makes nothing without one. Purify the source "
            "first, with a model that makes such media of noise"
        )


def cleaning_request(parts: ModelParts, request: Request, options: Mapping[str, Any]) -> Request | None:
    """The edit whose source is the condition that a request wants purified; None where it wants none.

    Only a model of such media can do that: what a model of clips knows says nothing of what is odd in a sound.
    MultigenError for others.
    """
    found = parts.conditioner.impure(options)
    if found is None:
        return None
    kind, medium = found.medium.modality.name, found.medium
    with said_of_condition():
        if kind != parts.modality.name:
            raise MultigenError(
                f"{parts.recipe.name} makes {parts.modality.name}, and only a model of {kind} knows what is odd in a "
                f"condition of that kind. Purify it first, with such a MODEL: multigen edit MODEL --input FILE "
                f"--purify {found.level:g} --strength 0.02"
            )
        _check_makes(parts)
        edit = EditRequest(medium, purify=found.level)
    how = {"steps": request.steps, "sampler": request.sampler, "overrides": request.overrides}
    return Request(
        edit=edit, options={PURIFY_CONDITION: None}, **how
    )  # whatever the recipe says of its own media


@contextmanager
def said_of_condition() -> Iterator[None]:
    """Errors of the purification inside the block name the option of the condition."""
    try:
        yield
    except MultigenError as error:
        raise type(error)(f"{PURIFY_CONDITION}: {str(error).removeprefix('purify: ')}") from error


def purified(parts: ModelParts, sampler: edits.Sampler, edit: EditPlan, noise: NoiseSource) -> Trajectory:
    """The walk of a source up in noise and down again; it returns the purified source [1, C, *D]."""
    assert edit.purifying is not None
    schedule, ts = parts.denoiser.schedule, edit.purifying

    def own(purpose: str, index: int) -> Tensor:
        return noise(f"purify {purpose}", index)

    x = edits.add_noise(schedule, edit.x0, ts[0], own("start", 0))
    return (yield from sampler(schedule, x, ts, own))
