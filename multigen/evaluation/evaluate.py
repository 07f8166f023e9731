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
from torch import Tensor
from tqdm import tqdm

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation import distances
from multigen.evaluation.copies import measure_copies
from multigen.evaluation.features import Classifier, Feature, extract
from multigen.evaluation.folder import MediaFolder
from multigen.evaluation.metrics import Metric, Score, others, skill
from multigen.evaluation.reference import media_kind, reference
from multigen.evaluation.sets import MediaSet, Pool, from_files, generated, noise, pools, real, requests
from multigen.evaluation.style import measure_style
from multigen.files import write_json
from multigen.manifest import versions
from multigen.model import Model, build_dataset
from multigen.recipe import recipe_hash, to_data
from multigen.registry import Part
from multigen.training.heldout import HeldOut

log = logging.getLogger(__name__)

FILE = "evaluation.json"
PAIRS = "evaluation-pairs.png"
FORMAT = "multigen evaluation 1"
DEFAULT_FEATURE = {"image": "efficientnet_lite0", "audio": "spectral", "video": "frames"}
_SHOWN = 8  # closest pairs in the picture


def evaluate(
    model: Model, folder: Path, *, media: Path | None = None, convert: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Measure a model as the `evaluate` part of its recipe says; write `folder`/evaluation.json and return it.

    `media`: measure the files of that folder, whoever made them, in place of what the model makes; nothing is known
    of their prompts. They must be of the modality's size and rate, or with `convert` are made so. An adapter is
    measured by what it moves (`measure_style`).
    MultigenError or RecipeError where the recipe's data, extractor or metrics cannot be had or do not fit.
    """
    recipe, settings = model.recipe, model.recipe.evaluate
    if recipe.backbone is None:
        if media is not None:
            raise MultigenError(
                "--media: a recipe that trains its codec is measured on copies of its own data"
            )
        return _write(_heading(model) | measure_copies(model), folder)
    dataset = build_dataset(recipe, model.modality)
    feature, metrics = parts(model, dataset)
    if model.own is not None and media is None:
        made, style = measure_style(model, dataset, feature, folder, quiet=quiet)
        result = _heading(model) | {"feature": {**dataclasses.asdict(feature.facts), "id": feature.facts.id}}
        result |= {"metrics": [], "sets": {made.name: len(made)}, "style": style}
        result["memorisation"] = _memorisation(model, dataset, [made], feature, folder)
        return _write(result, folder)
    groups = pools(dataset)
    # Of the modality's natural size, as the real media are.
    model.recipe = dataclasses.replace(
        recipe, sample=dataclasses.replace(recipe.sample, size=None, duration=None)
    )
    result = _heading(model)
    how = ("sampler", "timesteps", "guide", "modifiers")
    result["sampling"] = {k: v for k, v in to_data(recipe).items() if k in how}
    result["sampling"]["steps"] = recipe.sample.steps
    result["feature"] = {**dataclasses.asdict(feature.facts), "id": feature.facts.id}
    result["media"] = media_kind(model.modality, model.modality.shape())
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
        floor = noise(model, min(settings.n, 64), seed=recipe.seed)
        result["distances"] = _distances(model, dataset, groups, made, feature, floor)
        result["memorisation"] = _memorisation(model, dataset, made, feature, folder)
        held = HeldOut(
            dataset,
            dataset.split()[1],
            model.codec,
            model.conditioner,
            model.denoiser,
            recipe.seed,
            model.device,
            masked=recipe.masked,
        )
        result["held_out_loss"] = held.measure()
    finally:
        model.recipe = recipe
    return _write(result, folder)


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
        _title(p): registry.build("metric", p, where="evaluate.metrics", given=given)
        for p in settings.metrics
    }
    return feature, metrics


def _title(part: Part) -> str:
    return " ".join([part.name, *(f"{k}={v}" for k, v in sorted(part.args.items()))])


# --- what is measured -------------------------------------------------------------------------------------------


def _made(
    model: Model, dataset: Dataset, groups: Sequence[Pool], quiet: bool
) -> tuple[list[MediaSet], float]:
    """Generated media for each pool's captions, and seconds a medium."""
    settings, seed = model.recipe.evaluate, model.recipe.seed
    counts = [settings.n if k == 0 else settings.new for k in range(len(groups))]
    start, out = time.perf_counter(), []
    with tqdm(total=sum(counts), desc="evaluate", unit=" media", disable=quiet, mininterval=1) as bar:
        for number, (group, n) in enumerate(zip(groups, counts, strict=True)):
            asked = requests(dataset, group, n, seed=seed)
            out.append(
                generated(model, asked, group.name, seed=seed + number * n, watch=lambda _: bar.update(1))
            )
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


def _distances(
    model: Model,
    dataset: Dataset,
    groups: Sequence[Pool],
    made: Sequence[MediaSet],
    feature: Feature,
    floor: MediaSet,
) -> list[dict[str, Any]]:
    """Of each pool's media from real ones, beside real from other real ones and another kind from real ones."""
    recipe, rows = model.recipe, []
    other = floor if recipe.evaluate.other is None else _other(model, len(made[0]))
    for group, one in zip(groups, made, strict=True):
        n = max(len(one), 8)
        a, b = (real(dataset, group, n, model.codec, seed=recipe.seed, part=part) for part in "ab")
        x, y = (_reference(model, feature, s, recipe.data.name) for s in (a, b))
        g, o = (extract(feature, s.media, device=model.device) for s in (one, other))
        log.info("evaluate: distances (%s)", group.name)
        for name in ("kernel", "frechet"):
            rows.append({"distance": name, "set": one.name, "other": other.name} | _apart(name, x, y, g, o))
        if min(len(x), len(g)) > 5:
            rows[-2] |= distances.prdc(x.mean(1), g.mean(1))._asdict()
        if isinstance(feature, Classifier):
            p = torch.cat([feature.probabilities(m[None].to(model.device)).cpu() for m in one.media])
            score = distances.inception_score(p)
            rows.append(
                {"distance": "inception score", "set": one.name, "value": score.value, "error": score.error}
            )
    return rows


def _apart(name: str, x: Tensor, y: Tensor, g: Tensor, o: Tensor) -> dict[str, Any]:
    """Distances of one kind from the real x: of the generated g, of other real ones y and of another kind o.

    All [n, K, width]: the kernel distance leaves out pairs of windows of one medium.

    `excess`: (d - d_real) / (d_other - d_real), 0 like real media, 1 like the other kind.
    """
    if name == "kernel":
        d, same, far = (distances.kernel(x, z) for z in (g, y, o))
        excess = (d.value - same.value) / (far.value - same.value)
        error = math.hypot(d.error, same.error) / abs(far.value - same.value)
        return {"value": d.value, "error": d.error, "real": same.value, "far": far.value, "excess": excess,
                "excess_error": error}  # fmt: skip
    m, *ms = (distances.moments(z.flatten(0, 1)) for z in (x, g, y, o))
    d, same, far = (distances.frechet(m, z) for z in ms)
    row = {"value": d, "real": same, "far": far, "excess": (d - same) / (far - same)}
    problem = distances.frechet_problem(min(len(x), len(g)), x.shape[2])
    return row | ({"problem": problem} if problem else {})


def _reference(model: Model, feature: Feature, media: MediaSet, name: str) -> Tensor:
    """Features of real media, from the cache where they are known."""
    made = reference(
        feature,
        media,
        range(len(media)),
        modality=model.modality,
        name=f"{name}, {media.name}",
        device=model.device,
    )
    return made.features


def _other(model: Model, n: int) -> MediaSet:
    """Real media of the dataset that the recipe names as another kind, through the same codec."""
    part = model.recipe.evaluate.other
    assert part is not None
    dataset = registry.build("dataset", part, where="evaluate.other", given={"modality": model.modality})
    pool = Pool(part.name, range(len(dataset)))
    found = real(dataset, pool, n, model.codec, seed=model.recipe.seed, part="other")
    return dataclasses.replace(found, name=_title(part))


def _memorisation(
    model: Model, dataset: Dataset, made: Sequence[MediaSet], feature: Feature, folder: Path
) -> dict[str, Any]:
    """How near generated media are to training media, beside how near training media are to one another."""
    settings, seed = model.recipe.evaluate, model.recipe.seed
    train = list(dataset.split()[0])
    train = train[:: max(1, len(train) // settings.bank)][: settings.bank]
    log.info("evaluate: memorisation against %d training items", len(train))
    # As drawn for training, so that a copy of an augmented item is near its origin too.
    items = [dataset.draw(i, stream(seed, "bank", i)) for i in train]
    bank = extract(feature, (i["media"] for i in items), device=model.device).mean(1)
    media = [m for one in made for m in one.media]
    asked = [w for one in made for w in one.wanted]
    queries = extract(feature, media, device=model.device).mean(1)
    near, which = distances.neighbours(queries, bank)
    own, _ = distances.neighbours(bank, bank, exclude_self=True)
    near, which, own = near[:, 0], which[:, 0], own[:, 0]
    limit = float(own.quantile(0.05))
    closest = near.argsort()[:_SHOWN].tolist()
    shown = [m for k in closest for m in (media[k], items[int(which[k])]["media"])]
    folder.mkdir(parents=True, exist_ok=True)
    model.modality.preview(shown).save(folder / PAIRS)
    return {
        "bank": len(bank),
        "median": float(near.median()),
        "train_median": float(own.median()),
        "ratio": float(near.median() / own.median()) if float(own.median()) else math.nan,
        "closer_than_5_percent_of_training": float((near < limit).double().mean()),
        "pairs": [
            {
                "prompt": asked[k].prompt,
                "training_item": items[int(which[k])]["id"],
                "distance": float(near[k]),
            }
            for k in closest
        ],
    }


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
