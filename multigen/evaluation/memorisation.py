"""Does the model copy its training data? Each sample beside its nearest training item."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets import Dataset, Item
from multigen.evaluation import distances
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.sets import MediaSet
from multigen.model.model import Model

log = logging.getLogger(__name__)

PAIRS = "evaluation-pairs.png"
_SHOWN = 8  # closest pairs in the picture


def measure_memorisation(
    model: Model, dataset: Dataset, generated: Sequence[MediaSet], feature: Feature, folder: Path
) -> dict[str, Any] | None:
    """Distances of generated media to their nearest training items, beside those among training items.

    Of all media together and of each set. Writes a picture of the closest pairs to `folder`. None, and a warning, of a
    single training item: there are no distances among training items to compare with.
    """
    if (count := len(dataset.split()[0])) < 2:
        log.warning(
            "evaluate: memorisation is not measured: the data hold %d training item; at least 2 are needed",
            count,
        )
        return None
    bank, items = _bank(model, dataset, feature)
    media = [m for one in generated for m in one.media]
    targets = [t for one in generated for t in one.targets]
    queries = extract(feature, media, device=model.device).mean(1)
    near, which = distances.neighbours(queries, bank)
    own, _ = distances.neighbours(bank, bank, exclude_self=True)
    near, which, own = near[:, 0], which[:, 0], own[:, 0]
    limit = float(own.quantile(0.05))
    closest = near.argsort()[:_SHOWN].tolist()
    shown = [m for k in closest for m in (media[k], items[int(which[k])]["media"])]
    folder.mkdir(parents=True, exist_ok=True)
    model.modality.preview(shown).save(folder / PAIRS)
    parts = near.split([len(one) for one in generated])
    return {
        "bank": len(bank),
        "train_median": float(own.median()),
        **_nearness(near, float(own.median()), limit),
        "sets": {
            one.name: _nearness(part, float(own.median()), limit)
            for one, part in zip(generated, parts, strict=True)
        },
        "pairs": [
            {
                "prompt": targets[k].prompt,
                "training_item": items[int(which[k])]["id"],
                "distance": float(near[k]),
            }
            for k in closest
        ],
    }


def _bank(model: Model, dataset: Dataset, feature: Feature) -> tuple[Tensor, list[Item]]:
    """Features [n, w] of training items, evenly spread, and the items.

    Drawn as in training, so that a copy of an augmented item is near its source too.
    """
    settings, seed = model.recipe.evaluate, model.recipe.seed
    train = list(dataset.split()[0])
    train = train[:: max(1, len(train) // settings.bank)][: settings.bank]
    log.info("evaluate: memorisation against %d training items", len(train))
    items = [dataset.draw(i, stream(seed, "bank", i)) for i in train]
    return extract(feature, (i["media"] for i in items), device=model.device).mean(1), items


def _nearness(near: Tensor, train_median: float, limit: float) -> dict[str, float]:
    """How near a set is, from the distance of each medium to its nearest training item [n]."""
    median = float(near.median())
    return {
        "median": median,
        "ratio": median / train_median if train_median else math.nan,
        "closer_than_5_percent_of_training": float((near < limit).double().mean()),
    }
