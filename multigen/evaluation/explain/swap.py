"""Which noise levels decide what: another prompt takes over during one interval, and the media are scored.

Media of the prompt, of the other prompt, and of the prompt with the other in its place during each interval begin with
the same noise. With f features, and m_a and m_b the means of both prompts' media of all *other* seeds,

    place = (f - m_a) (m_b - m_a) / |m_b - m_a|²
    moved = mean(place - place of the prompt) / mean(place of the other - place of the prompt)

0 is as media of the prompt are, 1 as those of the other, to the last. Divided by the other's own, as |m_b - m_a|² of
few seeds holds their noise and makes every place too small. The standard error is that of the jackknife over seeds
(Efron & Stein 1981, "The jackknife estimate of variance", eq. 1.4), as the seeds share their means.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.groups import wilson
from multigen.generation.batching import Batcher
from multigen.generation.noise_levels import intervals
from multigen.generation.plan import Job
from multigen.generation.swap import Swap
from multigen.model.model import Model
from multigen.progress import Progress

BLURRED = "a filter blurs what these prompts make, which an explanation would show"
LEAST = 4  # seeds: of the jackknife's three, each is beside the mean of two others


class Swapped(NamedTuple):
    """What another prompt does during each interval of noise levels.

    moved   how far the media are on the way to the other prompt's; NaN where those lie nowhere else
    error   its standard error
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

    own, other  jobs of both prompts, of the same seeds, `LEAST` or more
    count       of intervals of noise levels
    progress    hears of each call and each medium

    MultigenError where a filter blurs a medium, whose scores would be those of the blur.
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
        if any(flag.action == "blur" for flag in medium.flags):
            raise MultigenError(BLURRED)
        media.append(medium.tensor.clamp(-1, 1))
        progress.advance()
    features = extract(feature, media, device=model.device).double().mean(1)
    a, b, *rest = features.split(len(own))
    scores = [moved(a, b, one) for one in rest]
    turned = [int((place(a, b, one) > 0.5).sum()) for one in rest]
    right = int((place(a, b, a) < 0.5).sum() + (place(a, b, b) > 0.5).sum())
    first = [media[k * len(own)] for k in (0, *range(2, len(levels) + 2), 1)]
    return Swapped(
        other=other[0].prompt,
        moved=[value for value, _ in scores],
        error=[error for _, error in scores],
        turned=[wilson(number, len(own)) for number in turned],
        right=wilson(right, 2 * len(own)),
        media=first,
    )


def moved(a: Tensor, b: Tensor, found: Tensor) -> tuple[float, float]:
    """How far media lie on the way from a to b, and its standard error; all are features [n, w] of the same seeds.

    NaN for both where b lies no farther on the way than a, with all seeds or without one of them.
    """
    n = len(a)
    kept = [torch.arange(n) != seed for seed in range(n)]
    without = torch.tensor([_ratio(a[k], b[k], found[k]) for k in kept], dtype=torch.float64)
    error = float(without.std(correction=0)) * math.sqrt(n - 1)
    return (math.nan, math.nan) if math.isnan(error) else (_ratio(a, b, found), error)


def _ratio(a: Tensor, b: Tensor, found: Tensor) -> float:
    from_ = place(a, b, a)
    way = float((place(a, b, b) - from_).mean())
    return float((place(a, b, found) - from_).mean()) / way if way > 0 else math.nan


def place(a: Tensor, b: Tensor, found: Tensor) -> Tensor:
    """Where features [n, w] lie on the way from a to b, the features of the same seeds [n, w]: [n].

    The means of a and b are those of the other seeds, so that no medium is scored by itself. 0.5 where they are equal.
    """
    n = len(a)
    from_, to = ((one.sum(0) - one) / (n - 1) for one in (a, b))
    way = to - from_
    length = way.square().sum(1)
    share = ((found - from_) * way).sum(1) / length.clamp_min(1e-30)
    return torch.where(length > 0, share, 0.5)


def row(found: Swapped, k: int) -> dict[str, Any]:
    """The numbers of one interval as data; None for NaN."""
    numbers = {"moved": found.moved[k], "error": found.error[k]}
    told = {name: None if math.isnan(value) else value for name, value in numbers.items()}
    return {**told, "turned": found.turned[k]}
