"""Distances of generated media from real media, next to those of other real media and of noise."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen import registry
from multigen.datasets import Dataset
from multigen.evaluation import distances
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.reference import reference
from multigen.evaluation.results import Distance
from multigen.evaluation.sets import MediaSet, Pool, noise_set, real_set
from multigen.model.model import Model
from multigen.registry import Part

log = logging.getLogger(__name__)

_NOISE = 64  # media of noise at most


def part_title(part: Part) -> str:
    """A part's name with its arguments, as results name it."""
    return " ".join([part.name, *(f"{k}={v}" for k, v in sorted(part.args.items()))])


def measure_distances(
    model: Model,
    dataset: Dataset,
    pools: Sequence[Pool],
    generated: Sequence[MediaSet],
    feature: Feature,
) -> list[Distance]:
    """The distances between each pool's generated media and real media of the pool.

    Each row also has the distance of other real media (`real`) and of media of another kind (`far`): what
    `evaluate.other` names, or else noise. Captions of training that are measured by themselves have no row.
    """
    recipe = model.recipe
    rows: list[Distance] = []
    other = other_set(model, len(generated[0]))
    for pool, one in zip(pools, generated, strict=True):
        if pool.kind is not None:  # of few things, or of one many times: unlike any real set
            continue
        n = max(len(one), 8)
        a, b = (real_set(dataset, pool, n, model.codec, seed=recipe.seed, part=part) for part in "ab")
        x, y = (_reference(model, feature, s, recipe.data.name) for s in (a, b))
        g, o = (extract(feature, s.media, device=model.device) for s in (one, other))
        log.info("evaluate: distances (%s)", pool.name)
        near = _kernel(one.name, other.name, x, y, g, o)
        if min(len(x), len(g)) > 5:
            near = dataclasses.replace(near, **distances.prdc(x.mean(1), g.mean(1))._asdict())
        rows += [near, _frechet(one.name, other.name, x, y, g, o)]
        if feature.classes:
            p = torch.cat([feature.probabilities(m[None].to(model.device)).cpu() for m in one.media])
            score = distances.inception_score(p)
            rows.append(Distance("inception score", one.name, score.value, score.error))
    return rows


def _kernel(of: str, other: str, x: Tensor, y: Tensor, g: Tensor, o: Tensor) -> Distance:
    """Kernel distances from real media x: of generated media g, other real media y and another kind o.

    All [n, K, width]. `excess`: (d - d_real) / (d_other - d_real), 0 like real media, 1 like the other kind.
    """
    d, same, far = (distances.kernel(x, z) for z in (g, y, o))
    excess = (d.value - same.value) / (far.value - same.value)
    error = math.hypot(d.error, same.error) / abs(far.value - same.value)
    return Distance("kernel", of, d.value, d.error, other, same.value, far.value, excess, error)


def _frechet(of: str, other: str, x: Tensor, y: Tensor, g: Tensor, o: Tensor) -> Distance:
    """Fréchet distances, as `_kernel`; every window counts as a row."""
    m, *ms = (distances.moments(z.flatten(0, 1)) for z in (x, g, y, o))
    d, same, far = (distances.frechet(m, z) for z in ms)
    problem = distances.frechet_problem(min(len(x), len(g)), x.shape[2]) or None
    excess = (d - same) / (far - same)
    return Distance("frechet", of, d, None, other, same, far, excess, problem=problem)


def _reference(model: Model, feature: Feature, media: MediaSet, name: str) -> Tensor:
    """Features of real media, from the cache if they are there."""
    found = reference(
        feature,
        media,
        range(len(media)),
        modality=model.modality,
        name=f"{name}, {media.name}",
        device=model.device,
    )
    return found.features


def other_set(model: Model, n: int) -> MediaSet:
    """Media of another kind: real ones of the dataset that `evaluate.other` names, through the codec; else noise."""
    recipe = model.recipe
    part = recipe.evaluate.other
    if part is None:
        return noise_set(model, min(recipe.evaluate.n, _NOISE), seed=recipe.seed)
    dataset = registry.build("dataset", part, where="evaluate.other", given={"modality": model.modality})
    pool = Pool(part.name, range(len(dataset)))
    found = real_set(dataset, pool, n, model.codec, seed=recipe.seed, part="other")
    return dataclasses.replace(found, name=part_title(part))
