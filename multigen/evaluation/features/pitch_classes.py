"""Pitch classes as features: which notes a sound has, whatever plays them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.evaluation.features.sound import sample_rate
from multigen.evaluation.tonality import note_weights
from multigen.modalities import Modality
from multigen.registry import Given


class PitchClasses(nn.Module, Feature):
    """Sound: the share of each pitch class, C to B, in its notes, as the metric `tonality` hears them.

    To judge keys: pieces in one key are near to each other on any instrument. It needs no network.
    """

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_modality(modality, 1, "pitch_classes")
        self._rate = sample_rate(modality)
        self.facts = Facts(
            name="pitch_classes",
            width=12,
            takes=f"{self._rate} Hz mono",
            normalisation="shares that sum to 1",
            licence="code of multigen, Apache-2.0",
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, 1, 12]; zeros for silence."""
        check_media(media, 1, "pitch_classes")
        return torch.stack([note_weights(sound, self._rate) for sound in media.float().mean(1)])[:, None]
