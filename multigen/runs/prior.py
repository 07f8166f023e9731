"""The media of a class for prior preservation: made once by the model itself, and kept in the run folder."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from multigen import registry
from multigen.datasets import Dataset
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.recipe.schema import Prior
from multigen.registry import Part
from multigen.storage.files import write_text
from multigen.training import ranks

log = logging.getLogger(__name__)

FOLDER = "prior"
_MADE = "made.json"  # what they were made from


def class_media(model: Model, folder: Path) -> Dataset | None:
    """The class's media of a training in a run folder; what is missing of them is made, each from a seed of its own.

    The model has the weights that the training begins from. None where the recipe asks for none.
    """
    prior = model.recipe.train.prior
    if prior is None:
        return None
    place = folder / FOLDER
    with ranks.in_turn():
        if ranks.first():
            _make(model, prior, place)
    part = Part("folder", {"path": str(place), "captions": "none", "labels": "none", "held_out": 0.0})
    return registry.build("dataset", part, where="train.prior", given={"modality": model.modality})


def _make(model: Model, prior: Prior, place: Path) -> None:
    """Make what is missing; all of it where other media stand there."""
    facts = json.dumps({"prompt": prior.prompt, "seed": model.recipe.seed})
    if place.exists() and (not (place / _MADE).is_file() or (place / _MADE).read_text("utf-8") != facts):
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / _MADE, facts)
    names = [f"{k:05d}{model.modality.suffix}" for k in range(prior.count)]
    missing = [k for k, name in enumerate(names) if not (place / name).is_file()]
    if not missing:
        return
    log.info(
        "%s: %d media of the class are made first, from %r", model.recipe.name, len(missing), prior.prompt
    )
    for k, media in zip(missing, model.stream(_requests(model, prior, missing)), strict=True):
        model.modality.write(media.tensor, place / names[k])


def _requests(model: Model, prior: Prior, numbers: Sequence[int]) -> list[Request]:
    return [Request(prior.prompt, seed=model.recipe.seed + k) for k in numbers]
