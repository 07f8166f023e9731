"""Evaluating a trained model: measures with their floor and ceiling, distances, memorisation, held-out loss, speed."""

from __future__ import annotations

import dataclasses
import logging
import math
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from multigen import registry
from multigen.datasets import Dataset
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation.copies import measure_copies
from multigen.evaluation.features import Feature
from multigen.evaluation.folder import MediaFolder
from multigen.evaluation.metrics import Metric, Score, others, skill
from multigen.evaluation.nearness import measure_distances, measure_memorisation, part_title
from multigen.evaluation.reference import media_kind
from multigen.evaluation.sets import MediaSet, Pool, from_files, generated, noise, pools, real, requests
from multigen.evaluation.style import measure_style
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.progress import Progress
from multigen.recipe.dump import recipe_hash, to_data
from multigen.recipe.manifest import versions
from multigen.registry import Part
from multigen.storage.files import write_json
from multigen.training.heldout import HeldOut

log = logging.getLogger(__name__)

FILE = "evaluation.json"
FORMAT = "multigen evaluation 1"
DEFAULT_FEATURE = {"image": "efficientnet_lite0", "audio": "spectral", "video": "frames"}


def evaluate(
    model: Model, folder: Path, *, media: Path | None = None, convert: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Measure a model as the `evaluate` part of its recipe says; write `folder`/evaluation.json and return it.

    `media`: measure the files of that folder, whoever made them, in place of what the model makes; nothing is known
    of their prompts. They must be of the modality's size and rate, or with `convert` are made so. An adapter is
    measured by what it moves (`measure_style`).
    MultigenError or RecipeError where the recipe's data, extractor or metrics cannot be had or do not fit.
    """
    recipe = model.recipe
    if recipe.trains == "codec":
        if media is not None:
            raise MultigenError(
                "--media: a recipe that trains its codec is measured on copies of its own data"
            )
        return _write(_heading(model) | measure_copies(model), folder)
    dataset = build_dataset(recipe, model.modality)
    feature, metrics = parts(model, dataset)
    if model.loras.own is not None and media is None:
        made, style = measure_style(model, dataset, feature, folder, quiet=quiet)
        result = _heading(model) | {"feature": {**dataclasses.asdict(feature.facts), "id": feature.facts.id}}
        result |= {"metrics": [], "sets": {made.name: len(made)}, "style": style}
        result["memorisation"] = measure_memorisation(model, dataset, [made], feature, folder)
        return _write(result, folder)
    groups = pools(dataset)
    # Of the modality's natural size, as the real media are.
    model.recipe = dataclasses.replace(
        recipe, sample=dataclasses.replace(recipe.sample, size=None, duration=None)
    )
    result = _heading(model) | _circumstances(model, feature)
    try:
        if media is None:
            made, seconds = _made(model, dataset, groups, quiet)
            result["speed"] = _speed(model, made[0], seconds)
        else:
            files = MediaFolder(media, model.modality, convert=convert)
            made, groups = [from_files(files, media.name)], groups[:1]
            result["converted"] = files.conversions
        result["sets"] = {one.name: len(one) for one in made}
        result["metrics"] = _metrics(model, dataset, groups, made, metrics)
        result["distances"] = measure_distances(model, dataset, groups, made, feature)
        result["memorisation"] = measure_memorisation(model, dataset, made, feature, folder)
        result["held_out_loss"] = _held_out(model, dataset)
    finally:
        model.recipe = recipe
    return _write(result, folder)


def _circumstances(model: Model, feature: Feature) -> dict[str, Any]:
    """How the media are made and looked at."""
    recipe, how = model.recipe, ("sampler", "timesteps", "guide", "modifiers")
    sampling = {k: v for k, v in to_data(recipe).items() if k in how} | {"steps": recipe.sample.steps}
    sampling["polish"] = dataclasses.asdict(recipe.sample.polish)
    facts = {**dataclasses.asdict(feature.facts), "id": feature.facts.id}
    return {
        "sampling": sampling,
        "feature": facts,
        "media": media_kind(model.modality, model.modality.shape()),
    }


def _held_out(model: Model, dataset: Dataset) -> Any:
    """The loss of held-out items by noise level."""
    return HeldOut(
        dataset,
        dataset.split()[1],
        model.codec,
        model.conditioner,
        model.denoiser,
        model.recipe.seed,
        model.device,
        masked=model.recipe.masked,
    ).measure()


def _heading(model: Model) -> dict[str, Any]:
    """What was measured."""
    recipe = model.recipe
    row: dict[str, Any] = {"format": FORMAT, "recipe": recipe.name, "recipe_hash": recipe_hash(recipe)}
    return row | {"weights_hash": model.weights_hash(), "seed": recipe.seed, "versions": versions()}


def _write(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, _plain(result))
    return result


def parts(model: Model, dataset: Dataset) -> tuple[Feature, dict[str, Metric]]:
    """The extractor and the metrics that the recipe names, built; RecipeError where one does not fit."""
    settings = model.recipe.evaluate
    given: dict[str, Any] = {"modality": model.modality, "dataset": dataset}
    part = settings.feature or Part(DEFAULT_FEATURE.get(model.modality.name, ""))
    if not part.name:
        raise RecipeError(
            f"evaluate.feature: there is none by default for the modality {model.modality.name}; name one"
        )
    feature = registry.build("feature", part, where="evaluate.feature", given=given)
    metrics = {
        part_title(p): registry.build("metric", p, where="evaluate.metrics", given=given)
        for p in settings.metrics
    }
    return feature, metrics


# --- what is measured -------------------------------------------------------------------------------------------


def _made(
    model: Model, dataset: Dataset, groups: Sequence[Pool], quiet: bool
) -> tuple[list[MediaSet], float]:
    """Generated media for each pool's captions, and seconds a medium."""
    settings, seed = model.recipe.evaluate, model.recipe.seed
    counts = [settings.n if k == 0 else settings.new for k in range(len(groups))]
    start, out = time.perf_counter(), []
    with Progress("evaluate", sum(counts), quiet=quiet) as bar:
        for number, (group, n) in enumerate(zip(groups, counts, strict=True)):
            asked = requests(dataset, group, n, seed=seed)
            out.append(generated(model, asked, group.name, seed=seed + number * n, progress=bar))
    return out, (time.perf_counter() - start) / sum(counts)


def _metrics(
    model: Model,
    dataset: Dataset,
    groups: Sequence[Pool],
    made: Sequence[MediaSet],
    metrics: dict[str, Metric],
) -> list[dict[str, Any]]:
    """A row for each metric and pool: value, ceiling, floor, skill."""
    seed, rows = model.recipe.seed, []
    for group, one in zip(groups, made, strict=True):
        if not metrics:
            break
        true = real(dataset, group, len(one), model.codec, seed=seed, part="ceiling")
        floor = noise(model, min(len(one), 64), seed=seed)
        for name, metric in metrics.items():
            log.info("evaluate: %s (%s)", name, group.name)
            value, ceiling = metric(one.media, one.wanted), metric(true.media, true.wanted)
            if metric.reads == "prompt":
                low = metric(one.media, others(one.wanted, seed))
            else:
                low = metric(floor.media, floor.wanted)
            if math.isnan(value.value):  # nothing of this set asks for it
                continue
            rows.append({"metric": name, "set": one.name, "about": metric.about, "better": metric.better}
                        | _row(metric, value, ceiling, low))  # fmt: skip
    return rows


def _row(metric: Metric, value: Score, ceiling: Score, floor: Score) -> dict[str, Any]:
    row: dict[str, Any] = {"value": value.value, "error": value.error, "ceiling": ceiling.value}
    row |= {"ceiling_error": ceiling.error, "floor": floor.value}
    row["floor_is"] = "prompts of others" if metric.reads == "prompt" else "noise"
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


def _speed(model: Model, made: MediaSet, seconds: float) -> dict[str, Any]:
    """Seconds a medium in batches and alone, and the most memory that the process has held."""
    start = time.perf_counter()
    generated(model, made.wanted[:1], "one", seed=model.recipe.seed)
    alone = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    row: dict[str, Any] = {
        "device": model.facts["device"],
        "seconds_a_medium": seconds,
        "seconds_alone": alone,
    }
    row["batch"] = model.recipe.sample.batch
    row["peak_memory_bytes"] = peak
    if model.device.type == "cuda":
        row["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(model.device)
    return row


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
