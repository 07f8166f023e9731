"""Checks that every extractor makes of the modality and of media."""

from __future__ import annotations

from torch import Tensor

from multigen.errors import MultigenError
from multigen.modalities import Modality

_KINDS = {1: "sound", 2: "images", 3: "video"}


def check_modality(modality: Modality, axes: int, name: str) -> None:
    """MultigenError unless media of the modality have `axes` axes beside channels: 1 sound, 2 images, 3 video."""
    have = len(modality.shape()) - 1
    if have != axes:
        raise MultigenError(
            f"{name} takes {_KINDS[axes]} ({axes} axes); the modality {modality.name} has {have}."
        )


def check_media(media: Tensor, axes: int, name: str) -> None:
    """MultigenError unless media are [B, C, *D] with `axes` axes D, none of them empty."""
    if media.ndim != axes + 2 or 0 in media.shape:
        names = {1: "samples", 2: "height, width", 3: "frames, height, width"}[axes]
        raise MultigenError(
            f"{name}: media of shape {tuple(media.shape)} are not allowed. Allowed: [B, channels, {names}]."
        )
