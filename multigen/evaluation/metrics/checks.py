"""Checks that metrics make of the modality."""

from __future__ import annotations

from multigen.errors import RecipeError
from multigen.modalities import Modality

_KINDS = {1: "sound", 2: "images", 3: "video"}


def check_modality(modality: Modality, axes: tuple[int, ...], name: str) -> None:
    """RecipeError unless the media's number of axes beside channels is one of `axes`: 1 sound, 2 images, 3 video."""
    if len(modality.shape()) - 1 not in axes:
        takes = " or ".join(_KINDS[n] for n in axes)
        raise RecipeError(f"evaluate.metrics: {name} takes {takes}; the modality is {modality.name}")
