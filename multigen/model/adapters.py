"""Adapters on a model: weights beside the backbone that lead it by pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from multigen.core.backbone import Control
from multigen.core.denoiser import Denoiser
from multigen.errors import MultigenError
from multigen.generation.pictures import read_picture
from multigen.recipe.schema import WeightedAdapter

LARGEST = 10.0  # weight


def attach(denoiser: Denoiser | None, adapters: Sequence[WeightedAdapter]) -> tuple[Tensor | None, ...]:
    """Sample with these adapters and no others; return their own pictures, [3, H, W] each.

    MultigenError for one that does not go with the network, and for a picture that is not there.
    """
    if denoiser is None:
        return ()
    try:
        denoiser.backbone.attach([_control(adapter) for adapter in adapters])
    except ValueError as error:
        raise MultigenError(str(error)) from error
    return tuple(None if one.image is None else read_picture(one.image) for one in adapters)


def _control(adapter: WeightedAdapter) -> Control:
    if not (math.isfinite(adapter.weight) and 0 <= adapter.weight <= LARGEST):
        raise MultigenError(
            f"adapters: {adapter.path}: weight {adapter.weight} is not allowed. Allowed: 0 to {LARGEST:g}."
        )
    return Control(adapter.name, adapter.path, adapter.weight, adapter.encoder)
