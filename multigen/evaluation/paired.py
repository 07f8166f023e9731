"""What a change of a model costs: media of the same prompts and seeds before and after it, measured by the same means.

The two sets share prompts, seeds and the real media that they are compared with, so that most of what a small number
of media leaves uncertain cancels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from multigen.datasets import Dataset
from multigen.errors import MultigenError
from multigen.evaluation import distances
from multigen.evaluation.compare import other_set
from multigen.evaluation.evaluate import build_parts
from multigen.evaluation.features import extract
from multigen.evaluation.measure import measure_metrics
from multigen.evaluation.sets import MediaSet, draw_targets, generated_set, pools_of, real_set
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.progress import Progress

_ROUNDS = (
    4  # pieces in which both make their media in turn, so that other work on the machine slows both alike
)


@dataclass(frozen=True)
class Skill:
    """A metric of the recipe before and after: 0 at its floor, 1 like real media."""

    metric: str
    before: float
    after: float


@dataclass(frozen=True)
class Cost:
    """What a change costs.

    media         how many each made
    excess_before kernel distance from real media, 0 like other real ones, 1 like media of another kind
    excess_rise   how much farther it is after; `rise_error` is its standard error
    difference    root mean square of the difference of two media of one seed; full scale is 2
    skills        of the recipe's metrics that have one
    seconds_before, seconds_after  a medium
    """

    media: int
    excess_before: float
    excess_rise: float
    rise_error: float
    difference: float
    skills: tuple[Skill, ...]
    seconds_before: float
    seconds_after: float

    @property
    def kept(self) -> float:
        """The smallest share of a metric's skill that is left; 1 without metrics, 0 where one cannot be computed."""
        shares = [s.after / s.before for s in self.skills if s.before > 0]
        return min((s if math.isfinite(s) else 0.0 for s in shares), default=1.0)


def measure_cost(before: Model, after: Model, *, n: int, quiet: bool = False) -> Cost:
    """Measure a changed model beside what it was, on `n` media each for captions that training saw.

    MultigenError where the recipe's data, feature or metrics are missing, and for fewer than 8 media.
    """
    if n < 8:
        raise MultigenError(f"-n {n}: too few media to measure. Allowed: 8 or more; 0: do not measure")
    recipe = before.recipe
    dataset = build_dataset(recipe, before.modality)
    feature, metrics = build_parts(before, dataset)
    pool = pools_of(dataset)[0]
    first, last, seconds = _both(before, after, dataset, n, quiet)
    x, y = (real_set(dataset, pool, n, before.codec, seed=recipe.seed, part=part) for part in "ab")
    sets = (x, y, other_set(before, n), first, last)
    real, same, far, a, b = (extract(feature, one.media, device=before.device) for one in sets)
    d, near, away = (distances.kernel(real, z).value for z in (a, same, far))
    rise, scale = distances.kernel_rise(real, a, b), excess_scale(near, away, n)
    rows = [measure_metrics(before, dataset, [pool], [one], metrics) for one in (first, last)]
    values = [{row.metric: row.skill for row in found} for found in rows]
    skills = [
        Skill(name, was, now)
        for name, was in values[0].items()
        if was is not None and (now := values[1].get(name)) is not None
    ]
    apart = torch.stack([(p - q).square().mean() for p, q in zip(first.media, last.media, strict=True)])
    return Cost(
        media=n,
        excess_before=(d - near) / scale,
        excess_rise=rise.value / scale,
        rise_error=rise.error / scale,
        difference=float(apart.mean().sqrt()),
        skills=tuple(skills),
        seconds_before=seconds[0],
        seconds_after=seconds[1],
    )


def excess_scale(near: float, away: float, n: int) -> float:
    """How much farther media of another kind are than other real ones: what an excess of 1 is.

    MultigenError where that is not above 0, as noise makes it of few media: a rise would read as a fall.
    """
    scale = away - near
    if not (math.isfinite(scale) and scale > 0):
        raise MultigenError(
            f"-n {n}: on so few media the kernel distance does not tell media of another kind ({away:.4g}) from real "
            f"ones ({near:.4g}). Allowed: more media; 0: do not measure"
        )
    return scale


def _both(
    before: Model, after: Model, dataset: Dataset, n: int, quiet: bool
) -> tuple[MediaSet, MediaSet, Sequence[float]]:
    """Media of both for the same targets and seeds, and the seconds a medium of each."""
    pool, seed = pools_of(dataset)[0], before.recipe.seed
    targets = draw_targets(dataset, pool, n, seed=seed)
    part = math.ceil(n / _ROUNDS)
    made: tuple[list[MediaSet], list[MediaSet]] = ([], [])
    seconds = [0.0, 0.0]
    with Progress("measure", 2 * n, quiet=quiet) as progress:
        for start in range(0, n, part):
            for k, model in enumerate((before, after)):
                began = time.perf_counter()
                some = targets[start : start + part]
                made[k].append(generated_set(model, some, pool.name, seed=seed + start, progress=progress))
                seconds[k] += time.perf_counter() - began
    first, last = (MediaSet(pool.name, [m for one in sets for m in one.media], targets) for sets in made)
    return first, last, [s / n for s in seconds]
