"""Evaluation of a trained model: metrics, distances, memorisation, held-out loss and speed."""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from multigen import registry
from multigen.codecs.kl_vae import KLVAE
from multigen.datasets import Dataset
from multigen.errors import MultigenError
from multigen.evaluation.compare import measure_distances, part_title
from multigen.evaluation.copies import measure_copies
from multigen.evaluation.features import Feature
from multigen.evaluation.groups import check_groups, measure_groups
from multigen.evaluation.groups_picture import draw_groups
from multigen.evaluation.measure import measure_metrics
from multigen.evaluation.media_folder import MediaFolder
from multigen.evaluation.membership import measure_losses
from multigen.evaluation.memorisation import measure_memorisation
from multigen.evaluation.metrics import Metric
from multigen.evaluation.reference import media_kind
from multigen.evaluation.report import Report
from multigen.evaluation.resynthesis import measure_resynthesis
from multigen.evaluation.sets import MediaSet, Pool, draw_targets, folder_set, generated_set, pools_of
from multigen.evaluation.style import measure_style
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.model.novelty import feature_part
from multigen.progress import Progress
from multigen.recipe.dump import recipe_hash, to_data
from multigen.recipe.manifest import versions
from multigen.recipe.students import SAMPLING


def evaluate(
    model: Model, folder: Path, *, media: Path | None = None, convert: bool = False, quiet: bool = False
) -> Report:
    """Measure a model as the `evaluate` section of its recipe says, and save the report in `folder`.

    media    measure the files of this folder instead of generated media; their prompts are unknown, so metrics that
             read the prompt do not apply
    convert  resize, crop or resample those files to the modality's size and rate; otherwise they must have it
    quiet    show no progress bar

    An adapter is measured by how far it moves the base model (`measure_style`), a codec by its copies of held-out
    media (`measure_copies`, for vocoders `measure_resynthesis`). MultigenError or RecipeError if the recipe's data,
    feature or metrics are unavailable or do not fit.
    """
    recipe = model.recipe
    if recipe.trains == "codec":
        if media is not None:
            raise MultigenError("--media: a recipe that trains a codec is measured on its own data only")
        measure = measure_copies if isinstance(model.codec, KLVAE) else measure_resynthesis
        measures, facts = measure(model)
        return Report(folder, _heading(model) | facts, tuple(measures)).save()
    dataset = build_dataset(recipe, model.modality)
    feature, metrics = build_parts(model, dataset)
    if _adapts(model) and media is None:
        made, style = measure_style(model, dataset, feature, folder, quiet=quiet)
        facts = _heading(model) | {"feature": _facts(feature), "sets": {made.name: len(made)}, "style": style}
        return Report(folder, facts | _memorisation(model, dataset, [made], feature, folder)).save()
    pools = pools_of(dataset)
    # Generated media have the modality's natural size, like the real media.
    model.recipe = dataclasses.replace(
        recipe, sample=dataclasses.replace(recipe.sample, size=None, duration=None)
    )
    facts = _heading(model) | _settings(model, feature)
    try:
        if media is None:
            made, seconds = _generated(model, dataset, pools, quiet)
            facts["speed"] = _speed(model, made[0], seconds)
        else:
            files = MediaFolder(media, model.modality, convert=convert)
            made, pools = [folder_set(files, media.name)], pools[:1]
            facts["converted"] = files.conversions
        facts["sets"] = {one.name: len(one) for one in made}
        measures = measure_metrics(model, dataset, pools, made, metrics)
        rows = measure_distances(model, dataset, pools, made, feature)
        facts |= _memorisation(model, dataset, made, feature, folder)
        facts |= _groups(model, dataset, made, metrics, feature, folder) if media is None else {}
        facts |= measure_losses(model, dataset)
    finally:
        model.recipe = recipe
    return Report(folder, facts, tuple(measures), tuple(rows)).save()


def _adapts(model: Model) -> bool:
    """Whether its training was that of an adapter. A student's is not: it is measured as its teacher is."""
    own = model.loras.own
    return own is not None and SAMPLING not in own.about


def build_parts(model: Model, dataset: Dataset) -> tuple[Feature, dict[str, Metric]]:
    """The feature and the metrics that the recipe names. RecipeError if one does not fit the modality or dataset."""
    settings = model.recipe.evaluate
    given: dict[str, Any] = {"modality": model.modality, "dataset": dataset}
    feature = registry.build("feature", feature_part(model.recipe), where="evaluate.feature", given=given)
    metrics = {
        part_title(p): registry.build("metric", p, where="evaluate.metrics", given=given)
        for p in settings.metrics
    }
    return feature, metrics


def _heading(model: Model) -> dict[str, Any]:
    """Which model was measured."""
    recipe = model.recipe
    row: dict[str, Any] = {"recipe": recipe.name, "recipe_hash": recipe_hash(recipe)}
    return row | {"weights_hash": model.weights_hash(), "seed": recipe.seed, "versions": versions()}


def _settings(model: Model, feature: Feature) -> dict[str, Any]:
    """How media are sampled, and with which extractor they are compared."""
    recipe, keys = model.recipe, ("sampler", "timesteps", "guide", "modifiers")
    sampling = {k: v for k, v in to_data(recipe).items() if k in keys} | {"steps": recipe.sample.steps}
    sampling["polish"] = dataclasses.asdict(recipe.sample.polish)
    return {
        "sampling": sampling,
        "feature": _facts(feature),
        "media": media_kind(model.modality, model.modality.shape()),
    }


def _facts(feature: Feature) -> dict[str, Any]:
    return {**dataclasses.asdict(feature.facts), "id": feature.facts.id}


def _generated(
    model: Model, dataset: Dataset, pools: Sequence[Pool], quiet: bool
) -> tuple[list[MediaSet], float]:
    """Generated media for the targets of each pool, and the seconds per medium."""
    check_groups(model, dataset)  # before any work
    settings, seed = model.recipe.evaluate, model.recipe.seed
    counts = [settings.n if k == 0 else settings.new for k in range(len(pools))]
    start, found = time.perf_counter(), []
    with Progress("evaluate", sum(counts), quiet=quiet) as progress:
        for number, (pool, n) in enumerate(zip(pools, counts, strict=True)):
            targets = draw_targets(dataset, pool, n, seed=seed)
            first = seed + number * n
            found.append(generated_set(model, targets, pool.name, seed=first, progress=progress))
    return found, (time.perf_counter() - start) / sum(counts)


def _speed(model: Model, made: MediaSet, seconds: float) -> dict[str, Any]:
    """Seconds per medium in batches and for a single medium, and the peak memory of the process."""
    start = time.perf_counter()
    generated_set(model, made.targets[:1], "one", seed=model.recipe.seed)
    alone = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    row: dict[str, Any] = {
        "device": model.facts["device"],
        "seconds_a_medium": seconds,
        "seconds_alone": alone,
        "batch": model.recipe.sample.batch,
        "peak_memory_bytes": peak,
    }
    if model.device.type == "cuda":
        row["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(model.device)
    return row


def _memorisation(
    model: Model, dataset: Dataset, made: Sequence[MediaSet], feature: Feature, folder: Path
) -> dict[str, Any]:
    """What is known of copies of training items; empty where it cannot be measured."""
    found = measure_memorisation(model, dataset, made, feature, folder)
    return {} if found is None else {"memorisation": found}


def _groups(
    model: Model,
    dataset: Dataset,
    made: Sequence[MediaSet],
    metrics: Mapping[str, Metric],
    feature: Feature,
    folder: Path,
) -> dict[str, Any]:
    """Quality and shares by group; empty where the recipe does not ask."""
    found = measure_groups(model, dataset, made, metrics, feature)
    if found is None:
        return {}
    draw_groups(found, folder)
    return {"groups": found}
