"""How many queries a trajectory asks of the network, before it begins."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen import registry
from multigen.core import edits
from multigen.core.edits import Sampler
from multigen.core.samplers import Trajectory, sampler_traits
from multigen.generation.edit import EditPlan
from multigen.generation.parts import ModelParts
from multigen.recipe.schema import Recipe


def count_queries(
    parts: ModelParts,
    recipe: Recipe,
    sampler: Sampler,
    ts: Tensor,
    edit: EditPlan | None,
    axes: int,
    passes: int,
) -> int | None:
    """How many queries a trajectory makes: counted on a sample of one number, answered by itself."""
    if sampler_traits(registry.lookup("sampler", recipe.sampler.name)).one_sample:
        return None  # its steps follow the errors that it meets
    x, schedule = torch.zeros([1] * (axes + 1)), parts.denoiser.schedule
    walk = sampler(schedule, x, ts, lambda purpose, index: x)
    if edit is not None and edit.resample > 1:
        walk = edits.resample(sampler, schedule, x, ts, lambda purpose, index: x, times=edit.resample)
    count = passes + _count(walk)
    count += purifying_queries(parts, sampler, edit)
    inverting = edit is not None and edit.invert is not None
    return count + (2 * (len(ts) - 1) if inverting else 0)


def purifying_queries(parts: ModelParts, sampler: Sampler, edit: EditPlan | None) -> int:
    """How many of them purify the source of an edit."""
    if edit is None or edit.purifying is None:
        return 0
    x = torch.zeros(1, 1)
    return _count(sampler(parts.denoiser.schedule, x, edit.purifying, lambda purpose, index: x))


def _count(walk: Trajectory) -> int:
    count = 0
    try:
        query = next(walk)
        while True:
            count += 1
            query = walk.send(query.x)
    except StopIteration:
        return count
