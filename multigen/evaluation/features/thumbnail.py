"""Thumbnails as features: the same picture in another file, size or light is near, another picture is far."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.pictures import resized, rgb_levels
from multigen.modalities import Modality
from multigen.registry import Given

_MOMENTS = 3  # frames of a clip: its first, middle and last


class Thumbnail(nn.Module, Feature):
    """Pictures and clips at few pixels: what is left of them when they are compressed or resized. For duplicates.

    side  of the thumbnail, pixels

    Of a clip the first, the middle and the last frame stand beside each other. It needs no network. MultigenError for
    other media, and fewer than 2 pixels.
    """

    def __init__(self, *, modality: Given[Modality], side: int = 16) -> None:
        super().__init__()
        axes = len(modality.shape()) - 1
        if axes not in (2, 3):
            raise MultigenError(
                f"thumbnail takes pictures and video; the modality {modality.name} has neither."
            )
        if side < 2:
            raise MultigenError(f"thumbnail: side: {side} is not allowed. Allowed: 2 or more.")
        self._axes, self._side = axes, side
        self.facts = Facts(
            name="thumbnail" if side == 16 else f"thumbnail of {side}",
            width=3 * side * side * (_MOMENTS if axes == 3 else 1),
            takes=f"{side}x{side} RGB",
            normalisation="levels / 255",
            licence="code of multigen, Apache-2.0",
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, H, W] or [B, C, T, H, W] in [-1, 1] -> [B, 1, width]."""
        if media.ndim != self._axes + 2 or 0 in media.shape:
            raise MultigenError(f"thumbnail: media of shape {tuple(media.shape)} are not allowed.")
        if self._axes == 3:
            places = [0, (media.shape[2] - 1) // 2, media.shape[2] - 1]
            stills = rearrange(media[:, :, places], "b c t h w -> (b t) c h w")
        else:
            stills = media
        small = resized(rgb_levels(stills), self._side, self._side) / 255
        return small.reshape(len(media), 1, -1)
