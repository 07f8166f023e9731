"""What a model does once before it samples: the precision that suits device and weights."""

from __future__ import annotations

import torch

from multigen.core.denoiser import Denoiser
from multigen.model.checked import Checked, sampling_precision
from multigen.recipe.schema import Recipe


def make_ready(
    denoiser: Denoiser | None, recipe: Recipe, device: torch.device, checked: Checked | None
) -> None:
    """Set how a denoiser, whose weights are loaded, computes in sampling; do nothing where there is none."""
    if denoiser is None:
        return
    denoiser.precision = sampling_precision(recipe, device, checked)
