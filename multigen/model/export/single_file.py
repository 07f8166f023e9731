"""One safetensors file with all that a model needs: its weights and recipe, and those of the stages before it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from multigen.model.model import Model
from multigen.model.weights import Stored, save_weights, stored
from multigen.recipe.paths import public


def write_single_file(model: Model, path: Path, *, half: bool = False, small: bool = False) -> Path:
    """Write the model and the stages before it; `small`: weights in 8 bits. MultigenError as in `Model.save`."""
    before: list[Model] = []
    stage = model.former
    while stage is not None:
        before.insert(0, stage)
        stage = stage.former
    names = tuple(one.recipe.name for one in before)
    own, *others = (
        _stored(one, names[:number]) for number, one in [(len(before), model), *enumerate(before)]
    )
    return save_weights(path, own, half=half, stages=others, small=small)


def _stored(model: Model, before: tuple[str, ...]) -> Stored:
    """What a file holds of a model, which comes after others."""
    own = stored(model.loras.kept(model.state_dict()), model.knowledge, model.recipe, model.codec)
    return own._replace(recipe=dataclasses.replace(public(own.recipe), stages=before))
