"""Which noise levels decide what: another prompt takes over during one interval, and the media are scored.

Media of the prompt, of the other prompt, and of the prompt with the other in its place during each interval begin with
the same noise. With f features, and m_a and m_b the means of both prompts' media of all *other* seeds,

    moved = (f - m_a) (m_b - m_a) / |m_b - m_a|²        0: as media of the prompt are, 1: as those of the other
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen.evaluation.features import Feature, extract
from multigen.evaluation.groups import wilson
from multigen.evaluation.metrics import Score
from multigen.generation.batching import Batcher
from multigen.generation.noise_levels import intervals
from multigen.generation.plan import Job
from multigen.generation.swap import Swap
from multigen.model.model import Model
from multigen.progress import Progress


class Swapped(NamedTuple):
    """What another prompt does during each interval of noise levels.

    moved   mean over the seeds, less that of the prompt's own media of the same seeds, and its standard error
    turned  share of media nearer to the other prompt's mean than to the prompt's, with its 95% interval
    right   the same of both prompts' own media, told apart rightly
    media   of the first seed: the prompt's, those of each interval, the other prompt's
    """

    other: str
    moved: list[float]
    error: list[float]
    turned: list[dict[str, float]]
    right: dict[str, float]
    media: list[Tensor]


def swap(
    model: Model,
    own: Sequence[Job],
    other: Sequence[Job],
    count: int,
    feature: Feature,
    progress: Progress,
) -> Swapped:
    """Make the media and score them.

    own, other  jobs of both prompts, of the same seeds, two or more
    count       of intervals of noise levels
    progress    hears of each call and each medium
    """
    levels = intervals(model.denoiser.schedule, own[0].plan.ts, count)
    jobs = [*own, *other]
    for level in levels:
        taken = Swap(other[0].prompt, level.low, level.high)
        plan = dataclasses.replace(own[0].plan, swap=taken)
        jobs += [job._replace(plan=plan) for job in own]
    batcher = Batcher(model, jobs, model.recipe.sample.batch, lambda _: progress.called())
    progress.expect(batcher.calls, len(jobs))
    media = []
    for medium in batcher.in_order():
        media.append(medium.tensor.clamp(-1, 1))
        progress.advance()
    features = extract(feature, media, device=model.device).double().mean(1)
    a, b, *rest = features.split(len(own))
    base = moved(a, b, a)
    scores = [Score.of((moved(a, b, one) - base).tolist()) for one in rest]
    turned = [int((moved(a, b, one) > 0.5).sum()) for one in rest]
    right = int((base < 0.5).sum() + (moved(a, b, b) > 0.5).sum())
    first = [media[k * len(own)] for k in (0, *range(2, len(levels) + 2), 1)]
    return Swapped(
        other=other[0].prompt,
        moved=[score.value for score in scores],
        error=[score.error for score in scores],
        turned=[wilson(number, len(own)) for number in turned],
        right=wilson(right, 2 * len(own)),
        media=first,
    )


def moved(a: Tensor, b: Tensor, found: Tensor) -> Tensor:
    """How far features [n, w] lie on the way from a to b, the features of the same seeds [n, w]: [n].

    The means of a and b are those of the other seeds, so that no medium is scored by itself. 0.5 where they are equal.
    """
    n = len(a)
    from_, to = ((one.sum(0) - one) / (n - 1) for one in (a, b))
    way = to - from_
    length = way.square().sum(1)
    share = ((found - from_) * way).sum(1) / length.clamp_min(1e-30)
    return torch.where(length > 0, share, 0.5)


def row(found: Swapped, k: int) -> dict[str, Any]:
    """The numbers of one interval as data."""
    return {"moved": found.moved[k], "error": found.error[k], "turned": found.turned[k]}
