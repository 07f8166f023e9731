"""Adapters on a model: networks beside the backbone that lead it by a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from multigen.core.backbone import Control
from multigen.core.denoiser import Denoiser
from multigen.errors import MultigenError
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image
from multigen.recipe.schema import WeightedAdapter

LARGEST = 10.0  # weight


def attach(denoiser: Denoiser | None, adapters: Sequence[WeightedAdapter]) -> None:
    """Sample with these adapters and no others. MultigenError for one that does not go with the network."""
    if denoiser is None:
        return
    try:
        denoiser.backbone.attach([_control(adapter) for adapter in adapters])
    except ValueError as error:
        raise MultigenError(str(error)) from error


def _control(adapter: WeightedAdapter) -> Control:
    if not (math.isfinite(adapter.weight) and 0 <= adapter.weight <= LARGEST):
        raise MultigenError(
            f"adapters: {adapter.path}: weight {adapter.weight} is not allowed. Allowed: 0 to {LARGEST:g}."
        )
    if adapter.image is None:
        raise MultigenError(f"adapters: {adapter.path}: a ControlNet needs a picture: image: FILE.")
    path = Path(adapter.image).expanduser()
    picture: Tensor = guarded(path, Image().read, path)
    return Control(adapter.path, picture, adapter.weight)
