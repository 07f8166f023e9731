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
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.groups import wilson
from multigen.generation.batching import Batcher
from multigen.generation.noise_levels import Interval, intervals
from multigen.generation.plan import Job
from multigen.generation.swap import Swap
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.progress import Progress

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
    others: Sequence[Sequence[Job]],
    count: int,
    feature: Feature,
    progress: Progress,
) -> list[Swapped]:
    """Make the media of a prompt once, those of each other prompt beside them, all in one batch, and score them.

    own, others  jobs of the prompt and of each other one, of the same seeds, `LEAST` or more
    count        of intervals of noise levels
    progress     hears of each call and each medium

    MultigenError where a filter blurs a medium, whose scores would be those of the blur.
    """
    levels = intervals(model.denoiser.schedule, own[0].plan.ts, count)
    asked = [list(own), *(one for other in others for one in _sets(own, other, levels))]
    batcher = Batcher(
        model, [job for one in asked for job in one], model.recipe.sample.batch, lambda _: progress.called()
    )
    progress.expect(batcher.calls, len(batcher.jobs))
    first: list[Tensor] = []
    media = _told(batcher, len(own), first, progress)
    features = extract(feature, media, device=model.device).double().mean(1).split(len(own))
    each = len(levels) + 1
    places = [slice(1 + k * each, 1 + (k + 1) * each) for k in range(len(others))]
    return [
        _scored(other[0].prompt, features[0], features[at], [first[0], *first[at]])
        for other, at in zip(others, places, strict=True)
    ]


def _told(batcher: Batcher, n: int, first: list[Tensor], progress: Progress) -> Iterator[Tensor]:
    """The media of all sets, `n` each, as they are made; the first of each set is kept in `first`."""
    for number, medium in enumerate(batcher.in_order()):
        tensor = unblurred(medium).tensor.clamp(-1, 1)
        if number % n == 0:
            first.append(tensor)
        progress.advance()
        yield tensor


def _sets(own: Sequence[Job], other: Sequence[Job], levels: Sequence[Interval]) -> list[list[Job]]:
    """The jobs of another prompt's media, then those of the prompt with the other in its place in each interval."""
    swaps = [Swap(other[0].prompt, level.low, level.high) for level in levels]
    plans = [dataclasses.replace(own[0].plan, swap=one) for one in swaps]
    return [list(other), *([job._replace(plan=plan) for job in own] for plan in plans)]


def _scored(prompt: str, a: Tensor, found: Sequence[Tensor], first: Sequence[Tensor]) -> Swapped:
    """Scores by features [n, w] of the prompt's media and, in `found`, of the other's and of those of each interval.

    first  a medium of each, in that order
    """
    b, *rest = found
    scores = [moved(a, b, one) for one in rest]
    right = int((place(a, b, a) < 0.5).sum() + (place(a, b, b) > 0.5).sum())
    mine, others, *between = first
    return Swapped(
        other=prompt,
        moved=[value for value, _ in scores],
        error=[error for _, error in scores],
        turned=[wilson(int((place(a, b, one) > 0.5).sum()), len(a)) for one in rest],
        right=wilson(right, 2 * len(a)),
        media=[mine, *between, others],
    )


def unblurred(medium: Media) -> Media:
    """The medium. MultigenError where a filter blurred it."""
    if any(flag.action == "blur" for flag in medium.flags):
        raise MultigenError("a filter blurs what these prompts make, which an explanation would show")
    return medium


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
