"""Near-duplicates among a dataset's items: those that lie close together in a feature."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from multigen import registry
from multigen.datasets import Dataset
from multigen.errors import MediaError, RecipeError
from multigen.evaluation.distances.rows import squared_distances
from multigen.evaluation.features import extract
from multigen.modalities import Modality
from multigen.recipe.schema import Recipe
from multigen.registry import Part

log = logging.getLogger(__name__)

FEATURES = {"image": "thumbnail", "audio": "spectral", "video": "thumbnail"}
NEAR = 0.2  # of the median distance between items
_SAMPLE = 1000  # items from which that is found


@dataclass(frozen=True)
class Copy:
    """An item that is a near-duplicate of another one, and how far it is from it."""

    index: int
    id: str
    of: str
    distance: float


class Duplicates(NamedTuple):
    """Training items that are like one that stays, the distance below which they are, and what was compared."""

    copies: list[Copy]
    limit: float
    feature: str
    items: int


def find_duplicates(
    recipe: Recipe,
    dataset: Dataset,
    modality: Modality,
    device: torch.device | str,
    near: float | None = None,
) -> Duplicates:
    """Training items that show the same as an earlier one, or as a held-out one.

    near  distance of duplicates, as a share of the median distance between two items; None: `NEAR`

    Items are compared without augmentation, by their mean features. An item of a long chain of duplicates goes with the
    nearest that stays. MultigenError where the feature does not fit.
    """
    part = recipe.train.dedup_feature or Part(FEATURES.get(recipe.modality.name, ""))
    if not part.name:
        raise RecipeError(
            f"train.dedup_feature: the modality {modality.name} has no default feature; name one"
        )
    feature = registry.build("feature", part, where="train.dedup_feature", given={"modality": modality})
    train, held = dataset.split()
    held = [] if dataset.holds_out == "captions" else held  # their media are trained on, with other words
    indices, ids = list[int](), list[str]()

    def read() -> Iterator[Tensor]:
        for index in [*held, *train]:
            try:
                item = dataset[index]
            except MediaError:  # the dataset has said so
                continue
            indices.append(index)
            ids.append(item["id"])
            yield item["media"]

    log.info("%s: features of %d items, for train.dedup", recipe.name, len(train) + len(held))
    rows = extract(feature, read(), device=device).double().mean(1)
    limit = (NEAR if near is None else near) * _scale(rows)
    known = set(held)
    copies = _copies(rows, indices, ids, [index in known for index in indices], limit)
    return Duplicates(copies, limit, feature.facts.name, len(indices))


def _scale(rows: Tensor) -> float:
    """The median distance between two of some items, evenly spread."""
    some = rows[:: max(1, len(rows) // _SAMPLE)][:_SAMPLE]
    if len(some) < 2:
        return 0.0
    apart = torch.cdist(some, some)
    return float(apart[~torch.eye(len(some), dtype=torch.bool)].median())


def _copies(
    rows: Tensor, indices: Sequence[int], ids: Sequence[str], held: Sequence[bool], limit: float
) -> list[Copy]:
    """Items near to one that stays: held-out ones all do, of the others the first."""
    found: list[Copy] = []
    stays = torch.tensor(held)
    for start, squares in squared_distances(rows, rows):
        for k, row in enumerate(squares):
            place = start + k
            if held[place]:
                continue
            apart = row.masked_fill(~stays, torch.inf)
            other = int(apart.argmin())
            # Computed again by subtraction: a copy then has exactly 0.
            distance = float((rows[place] - rows[other]).norm()) if bool(stays.any()) else float("inf")
            if distance <= limit:
                found.append(Copy(indices[place], ids[place], ids[other], distance))
            else:
                stays[place] = True
    return found
