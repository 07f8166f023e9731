"""How near generated media are: to real ones as a set, and one by one to what was trained on."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.evaluation import distances
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.reference import reference
from multigen.evaluation.sets import MediaSet, Pool, noise, real
from multigen.model.model import Model
from multigen.registry import Part

log = logging.getLogger(__name__)

PAIRS = "evaluation-pairs.png"
_SHOWN = 8  # closest pairs in the picture


def part_title(part: Part) -> str:
    """A part's name with its arguments."""
    return " ".join([part.name, *(f"{k}={v}" for k, v in sorted(part.args.items()))])


def measure_distances(
    model: Model,
    dataset: Dataset,
    groups: Sequence[Pool],
    made: Sequence[MediaSet],
    feature: Feature,
) -> list[dict[str, Any]]:
    """Of each pool's media from real ones, beside real from other real ones and another kind from real ones.

    The other kind is what `evaluate.other` names, else noise.
    """
    recipe, rows = model.recipe, []
    other = _other(model, len(made[0]))
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
        if feature.classes:
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
    """Media of another kind: real ones of the dataset that the recipe names, through the same codec; else noise."""
    recipe = model.recipe
    part = recipe.evaluate.other
    if part is None:
        return noise(model, min(recipe.evaluate.n, 64), seed=recipe.seed)
    dataset = registry.build("dataset", part, where="evaluate.other", given={"modality": model.modality})
    pool = Pool(part.name, range(len(dataset)))
    found = real(dataset, pool, n, model.codec, seed=recipe.seed, part="other")
    return dataclasses.replace(found, name=part_title(part))


def measure_memorisation(
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
