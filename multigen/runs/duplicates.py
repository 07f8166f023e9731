"""What `train.dedup` does before a training: near-duplicates are listed in the run folder, and dropped if asked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch

from multigen.datasets import Dataset
from multigen.datasets.fewer import Fewer
from multigen.datasets.media_files import Files
from multigen.errors import MediaError
from multigen.evaluation.duplicates import find_duplicates
from multigen.modalities import Modality
from multigen.recipe.dump import to_data
from multigen.recipe.schema import Recipe
from multigen.storage.files import write_json
from multigen.training import ranks

log = logging.getLogger(__name__)

FILE = "duplicates.json"
FORMAT = "multigen duplicates 1"
_SHOWN = 5


def deduplicated(
    recipe: Recipe, dataset: Dataset, modality: Modality, device: torch.device, folder: Path
) -> Dataset:
    """The dataset that is trained on, as `train.dedup` says. A training that goes on takes what it found before."""
    action = recipe.train.dedup
    if action in (None, "off"):
        return dataset
    with ranks.in_turn():  # the first looks, the others read what it found
        asked = _asked(recipe, dataset)
        found = _before(folder, asked, dataset)
        if found is None:
            found = _look(recipe, dataset, modality, device, asked)
            if ranks.first():
                folder.mkdir(parents=True, exist_ok=True)
                write_json(folder / FILE, found)
    copies = found["copies"]
    if ranks.first():
        _tell(recipe, copies, folder)
    return Fewer(dataset, [row["index"] for row in copies]) if action == "drop" and copies else dataset


def _asked(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    train, held = dataset.split()
    part = recipe.train.dedup_feature
    feature = None if part is None else {"name": part.name, **part.args}
    return {
        "near": recipe.train.dedup_near, "feature": feature, "train": len(train), "held_out": len(held),
        "data": _digest(recipe, dataset),
    }  # fmt: skip


def _digest(recipe: Recipe, dataset: Dataset) -> str:
    """sha256 of the recipe's data section and, where no file needs to be opened for them, of all items' ids."""
    told = json.dumps(to_data(recipe)["data"], sort_keys=True, default=str)
    found = hashlib.sha256(told.encode())
    if isinstance(dataset, Files):
        for index in range(len(dataset)):
            found.update(f"\0{dataset.name(index)}".encode(errors="surrogateescape"))
    return found.hexdigest()


def _is_item(dataset: Dataset, row: dict[str, Any]) -> bool:
    """Whether the item at the index of a row is the one that it names."""
    index = row["index"]
    if not (isinstance(index, int) and 0 <= index < len(dataset)):
        return False
    return (dataset.name(index) if isinstance(dataset, Files) else dataset[index]["id"]) == row["id"]


def _look(
    recipe: Recipe, dataset: Dataset, modality: Modality, device: torch.device, asked: dict[str, Any]
) -> dict[str, Any]:
    found = find_duplicates(recipe, dataset, modality, device, recipe.train.dedup_near)
    return {
        "format": FORMAT, "asked": asked, "feature": found.feature, "limit": found.limit,
        "items": found.items, "copies": [dataclasses.asdict(copy) for copy in found.copies],
    }  # fmt: skip


def _before(folder: Path, asked: dict[str, Any], dataset: Dataset) -> dict[str, Any] | None:
    """What a training of this folder found; None where it looked at other data, or not at all."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        same = found["format"] == FORMAT and found["asked"] == asked
        return found if same and all(_is_item(dataset, row) for row in found["copies"]) else None
    except (OSError, ValueError, KeyError, TypeError, MediaError):
        return None


def _tell(recipe: Recipe, copies: list[dict[str, Any]], folder: Path) -> None:
    if not copies:
        log.info("%s: no near-duplicates among the training items", recipe.name)
        return
    some = "; ".join(f"{row['id']} is like {row['of']}" for row in copies[:_SHOWN])
    more = f"; {len(copies) - _SHOWN} more" if len(copies) > _SHOWN else ""
    done = "left out" if recipe.train.dedup == "drop" else "trained on (train.dedup=drop leaves them out)"
    log.warning(
        "%s: %d near-duplicates, %s, in %s: %s%s", recipe.name, len(copies), done, folder / FILE, some, more
    )
