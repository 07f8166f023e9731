"""The metrics of an evaluation: for each metric and pool the value, its ceiling, its floor and its skill."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from multigen.datasets import Dataset
from multigen.evaluation.metrics import Metric, Score, shuffled, skill
from multigen.evaluation.sets import MediaSet, Pool, noise_set, real_set
from multigen.model.model import Model

log = logging.getLogger(__name__)

_NOISE = 64  # media of noise at most


def measure_metrics(
    model: Model,
    dataset: Dataset,
    pools: Sequence[Pool],
    generated: Sequence[MediaSet],
    metrics: Mapping[str, Metric],
) -> list[dict[str, Any]]:
    """A row for each metric and pool. Metrics that do not apply to any medium of a set are left out."""
    seed, rows = model.recipe.seed, []
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
            else:
                floor = metric(noise.media, noise.targets)
            if math.isnan(value.value):
                continue
            heading = {"metric": name, "set": one.name, "about": metric.about, "better": metric.better}
            rows.append(heading | _row(metric, value, ceiling, floor))
    return rows


def _row(metric: Metric, value: Score, ceiling: Score, floor: Score) -> dict[str, Any]:
    row: dict[str, Any] = {"value": value.value, "error": value.error, "ceiling": ceiling.value}
    row |= {"ceiling_error": ceiling.error, "floor": floor.value}
    row["floor_is"] = "other prompts" if metric.reads == "prompt" else "noise"
    if metric.better == "real":
        known = [v for v in ceiling.values if not math.isnan(v)]
        low, high = _quantile(known, 0.1), _quantile(known, 0.9)
        inside = [low <= v <= high for v in value.values if not math.isnan(v)]
        row |= {"real_10": low, "real_90": high, "inside": low <= value.value <= high}
        row["share_inside"] = statistics.fmean(inside) if inside else math.nan
    else:
        row["skill"] = skill(value.value, floor.value, ceiling.value)
    return row


def _quantile(values: Sequence[float], share: float) -> float:
    if not values:
        return math.nan
    return float(torch.tensor(values, dtype=torch.float64).quantile(share))
