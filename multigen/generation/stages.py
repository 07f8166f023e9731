"""Between two stages of a cascade: the noise of each, and what the later one sees of the earlier one."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.noise import Noise
from multigen.core.samplers import NoiseSource
from multigen.generation.parts import ModelParts
from multigen.generation.plan import Job, Plan
from multigen.generation.sizes import whole_sides


def stage_noise(
    parts: ModelParts, plan: Plan, seed: int, shape: tuple[int, ...] | None = None
) -> NoiseSource:
    """The noise of a stage, [1, *shape]; None: of its samples.

    Stages draw from streams of their own, or one would begin with the noise of another.
    """
    noise = Noise([seed], plan.shape if shape is None else shape, parts.device)
    stage = plan.depth if plan.enlarged is None and plan.embedded is None else 1
    return (lambda purpose, index: noise(f"stage {stage} {purpose}", index)) if stage else noise


def condition(parts: ModelParts, job: Job, former: Tensor) -> Tensor:
    """What a cascade's network sees of media [1, C, *d] of the stage before, with the noise of sampling on it."""
    assert parts.cascade is not None
    whole = whole_sides(parts, job.plan.media)
    seen = parts.cascade.seen(former, whole[1:])
    level = torch.full((1,), parts.cascade.level)
    noise = stage_noise(parts, job.plan, job.seed, tuple(seen.shape[1:]))("condition", 0)
    return parts.cascade.condition(seen, level, noise)
