"""Courses as features: how the thing in a clip moves, whatever it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multigen.conditioners.extractors.moving import trace
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.modalities import Modality
from multigen.registry import Given


class Course(nn.Module, Feature):
    """Video of one thing on a plain ground: where it is in the last quarter, from the first, and how far it goes.

    Across, upwards and the length of its way, in halves of the picture. To judge ways of moving. It needs no network.
    """

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_modality(modality, 3, "course")
        self.facts = Facts(
            name="course",
            width=3,
            takes="every frame",
            normalisation="halves of the picture",
            licence="code of multigen, Apache-2.0",
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] in [-1, 1] -> [B, 1, 3]."""
        check_media(media, 3, "course")
        places = trace(media.float())[:, :2]  # [B, 2, T]
        quarter = max(1, places.shape[2] // 4)
        shift = places[..., -quarter:].mean(2) - places[..., :quarter].mean(2)
        way = places.diff(dim=2).square().sum(1).sqrt().sum(1, keepdim=True)
        return torch.cat([shift, way], 1)[:, None]
