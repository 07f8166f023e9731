"""Adapters on a model: weights beside the backbone that lead it by pictures, and new words in its prompts."""

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
from multigen.generation.pictures import read_picture
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
) -> tuple[Tensor | None, ...]:
    """Sample with these adapters and no others; return the own pictures of those that lead, [3, H, W] each.

    own  the word that the model's own training taught it

    MultigenError for one that does not go with the model, and for a picture that is not there.
    """
    if denoiser is None:
        return ()
    leading = [one for one in adapters if one.leads]
    controls = [_control(one) for one in leading]
    taught = [_words(one) for one in adapters if one.name == "textual_inversion"]
    try:
        denoiser.backbone.attach(controls)
    except ValueError as error:
        raise MultigenError(str(error)) from error
    conditioner.teach([*([] if own is None else [own]), *taught])
    return tuple(None if one.image is None else read_picture(one.image) for one in leading)


def _control(adapter: WeightedAdapter) -> Control:
    if not (math.isfinite(adapter.weight) and 0 <= adapter.weight <= LARGEST):
        raise MultigenError(
            f"adapters: {adapter.path}: weight {adapter.weight} is not allowed. Allowed: 0 to {LARGEST:g}."
        )
    trained = Path(adapter.path).expanduser() / CONTROLNET  # of the run that trained it
    path = str(trained) if adapter.name == "controlnet" and trained.is_dir() else adapter.path
    return Control(adapter.name, path, adapter.weight, adapter.encoder)


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
