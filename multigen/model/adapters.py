"""Adapters on a model: networks beside the backbone that lead it by a picture, and new words in its prompts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from multigen.conditioners import Conditioner
from multigen.core.backbone import Control
from multigen.core.denoiser import Denoiser
from multigen.errors import MultigenError
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image
from multigen.recipe.schema import WeightedAdapter
from multigen.storage import words
from multigen.storage.diffusers_folder import CONTROLNET
from multigen.storage.words import Words

LARGEST = 10.0  # weight


def attach(
    denoiser: Denoiser | None,
    conditioner: Conditioner,
    adapters: Sequence[WeightedAdapter],
    own: Words | None = None,
) -> None:
    """Sample with these adapters and no others. MultigenError for one that does not go with the model.

    own  the word that the model's own training taught it
    """
    if denoiser is None:
        return
    controls = [_control(one) for one in adapters if one.name == "controlnet"]
    taught = [_words(one) for one in adapters if one.name == "textual_inversion"]
    try:
        denoiser.backbone.attach(controls)
    except ValueError as error:
        raise MultigenError(str(error)) from error
    conditioner.teach([*([] if own is None else [own]), *taught])


def _control(adapter: WeightedAdapter) -> Control:
    if not (math.isfinite(adapter.weight) and 0 <= adapter.weight <= LARGEST):
        raise MultigenError(
            f"adapters: {adapter.path}: weight {adapter.weight} is not allowed. Allowed: 0 to {LARGEST:g}."
        )
    if adapter.image is None:
        raise MultigenError(f"adapters: {adapter.path}: a ControlNet needs a picture: image: FILE")
    path = Path(adapter.image).expanduser()
    picture: Tensor = guarded(path, Image().read, path)
    folder = Path(adapter.path).expanduser()
    trained = folder / CONTROLNET  # of the run that trained it
    return Control(str(trained if trained.is_dir() else folder), picture, adapter.weight)


def _words(adapter: WeightedAdapter) -> Words:
    if adapter.weight != 1 or adapter.image is not None:
        raise MultigenError(
            f"adapters: {adapter.path}: a textual inversion takes no weight and no image. In a prompt: (<word>:0.8)"
        )
    try:
        found = words.read(Path(adapter.path).expanduser(), adapter.token)
    except MultigenError as error:
        raise MultigenError(f"adapters: {error}") from error
    return dataclasses.replace(found, where=f"adapters: {found.where}")
