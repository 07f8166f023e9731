"""What a model does once before it samples: the precision that suits device and weights, and `sample.compile`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from multigen.core.denoiser import Denoiser
from multigen.model.checked import checked_of, sampling_precision
from multigen.recipe.schema import Recipe
from multigen.storage.cache_folder import cache_folder
from multigen.training.compiled import compiled

_VARIANTS = 64  # forms of one block that are compiled: widths, with attention or without


def set_precision(
    denoiser: Denoiser | None, recipe: Recipe, device: torch.device, measured: Mapping[str, Any]
) -> None:
    """Set the precision of sampling for the weights as they are now; do nothing where there is no denoiser.

    measured  of these weights, without the LoRAs of the recipe
    """
    if denoiser is not None:
        denoiser.precision = sampling_precision(recipe, device, checked_of(measured))


def make_ready(denoiser: Denoiser | None, recipe: Recipe) -> None:
    """Compile what samples, where the recipe says so; do nothing where there is no denoiser.

    TrainingError for `sample.compile` where nothing can be compiled.
    """
    if denoiser is not None and recipe.sample.compile:
        compile_regions(denoiser)


def compile_regions(denoiser: Denoiser) -> None:
    """Compile a backbone's regions when they are first called, for any batch; what was compiled stays on disk.

    A region by itself takes less to compile than the network, and regions of one form share what was compiled.
    TrainingError where there is no compiler.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder("compiled")))
    compiled(_probe, "sample.compile")(torch.arange(64.0))
    import torch._dynamo.config as dynamo

    dynamo.recompile_limit = max(dynamo.recompile_limit, _VARIANTS)
    for region in denoiser.backbone.regions():
        region.compile(dynamic=True)


def _probe(x: Tensor) -> Tensor:
    return (2 * x).sin() + 1
