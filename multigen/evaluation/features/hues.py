"""Hues as features: which colours a picture or a clip has, and nothing of what it shows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.pictures import rgb_levels
from multigen.modalities import Modality
from multigen.registry import Given

_BINS = 24
_WIDTH = 15.0  # degrees: deviation of the bell by which a pixel counts for bins beside its own
_FAINT = 0.15  # saturation up to which a pixel has no hue


class Hues(nn.Module, Feature):
    """Pictures and clips: the share of each of 24 hues in what is coloured, then the share that is coloured.

    A pixel counts by its saturation and value (HSV), for its own hue and those within about 15 degrees. To judge
    colours: pictures of other things in one colour are near to each other. It needs no network. MultigenError for
    other media.
    """

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        self._axes = len(modality.shape()) - 1
        if self._axes not in (2, 3):
            raise MultigenError(f"hues takes pictures and video; the modality {modality.name} has neither.")
        self.facts = Facts(
            name="hues",
            width=_BINS + 1,
            takes="RGB of any size",
            normalisation="shares that sum to 1",
            licence="code of multigen, Apache-2.0",
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, H, W] or [B, C, T, H, W] in [-1, 1] -> [B, 1, 25]."""
        if media.ndim != self._axes + 2 or 0 in media.shape:
            raise MultigenError(f"hues: media of shape {tuple(media.shape)} are not allowed.")
        red, green, blue = (rgb_levels(media).flatten(2) / 255).unbind(1)
        most, least = (torch.stack([red, green, blue]).aminmax(dim=0))[::-1]
        saturation = (most - least) / most.clamp_min(1e-6)
        weight = torch.where(saturation > _FAINT, saturation * most, 0.0)  # [B, N]
        # The angle in the plane across the axis of greys, which is HSV's hue within two degrees.
        angle = torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)
        found = []
        for place in range(_BINS):  # one by one: all at once are 24 times the media
            apart = torch.remainder(angle - (2 * place / _BINS - 1) * math.pi, 2 * math.pi) - math.pi
            bell = torch.exp(-0.5 * (apart * (180 / math.pi / _WIDTH)).square())
            found.append((weight * bell).sum(1))
        shares = torch.stack(found, 1)
        shares = shares / shares.sum(1, keepdim=True).clamp_min(1e-6)
        coloured = (weight > 0).float().mean(1, keepdim=True)
        return torch.cat([shares, coloured], 1)[:, None]
