"""The metrics of an evaluation: for each metric and pool the value, its ceiling, its floor and its skill."""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
from collections.abc import Mapping, Sequence

import torch

from multigen.datasets import Dataset
from multigen.evaluation.metrics import Metric, Score, repeated, shuffled, skill
from multigen.evaluation.results import Measure
from multigen.evaluation.sets import MediaSet, Pool, noise_set, real_set
from multigen.model.model import Model

log = logging.getLogger(__name__)

_NOISE = 64  # media of noise at most
_FLOORS = {"prompt": "other prompts", "media": "noise", "seeds": "one seed"}


def measure_metrics(
    model: Model,
    dataset: Dataset,
    pools: Sequence[Pool],
    generated: Sequence[MediaSet],
    metrics: Mapping[str, Metric],
) -> list[Measure]:
    """A row for each metric and pool. Metrics that do not apply to any medium of a set are left out."""
    seed = model.recipe.seed
    rows: list[Measure] = []
    for pool, one in zip(pools, generated, strict=True):
        if not metrics:
            break
        true = real_set(dataset, pool, len(one), model.codec, seed=seed, part="ceiling")
        noise = noise_set(model, min(len(one), _NOISE), seed=seed)
        for name, metric in metrics.items():
            log.info("evaluate: %s (%s)", name, pool.name)
            value, ceiling = metric(one.media, one.targets), metric(true.media, true.targets)
            if metric.reads == "prompt":
                floor = metric(one.media, shuffled(one.targets, seed))
            elif metric.reads == "seeds":
                floor = metric(repeated(one.media, one.targets), one.targets)
            else:
                floor = metric(noise.media, noise.targets)
            if math.isnan(value.value):
                continue
            rows.append(_measure(name, one.name, metric, value, ceiling, floor))
    return rows


def _measure(name: str, of: str, metric: Metric, value: Score, ceiling: Score, floor: Score) -> Measure:
    row = Measure(
        name,
        of,
        metric.about,
        metric.better,
        value.value,
        value.error,
        ceiling.value,
        ceiling.error,
        floor.value,
        _FLOORS[metric.reads],
    )
    if metric.better != "real":
        return dataclasses.replace(row, skill=skill(value.value, floor.value, ceiling.value))
    known = [v for v in ceiling.values if not math.isnan(v)]
    low, high = _quantile(known, 0.1), _quantile(known, 0.9)
    inside = [low <= v <= high for v in value.values if not math.isnan(v)]
    return dataclasses.replace(
        row,
        inside=low <= value.value <= high,
        share_inside=statistics.fmean(inside) if inside else math.nan,
        real_10=low,
        real_90=high,
    )


def _quantile(values: Sequence[float], share: float) -> float:
    if not values:
        return math.nan
    return float(torch.tensor(values, dtype=torch.float64).quantile(share))
