"""The feature: how often letters follow each other in a text."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.evaluation.features import Facts, Feature
from multigen.registry import Given
from multigen_text.modality import Text

WIDTH = 256
_STRIDE = 31  # odd: pairs spread over all numbers


class Pairs(Feature):
    """Counts of pairs of characters, each pair under one of 256 numbers; square roots, of length 1 (Hellinger)."""

    def __init__(self, *, modality: Given[Text]) -> None:
        self.modality = modality
        takes = f"texts of {len(modality.alphabet)} characters"
        self.facts = Facts("letter_pairs", WIDTH, takes, "square roots, length 1", "Apache-2.0")

    def __call__(self, media: Tensor) -> Tensor:
        places = self.modality.indices(media[:, 0])
        places = torch.cat([torch.zeros_like(places[:, :1]), places], dim=1)  # a text begins after a blank
        pairs = (places[:, :-1] * _STRIDE + places[:, 1:]) % WIDTH
        shown = (places[:, 1:] > 0).float()  # the blanks after a text say nothing
        counts = torch.zeros(len(media), WIDTH, device=media.device).scatter_add_(1, pairs, shown)
        return torch.nn.functional.normalize(counts.sqrt(), dim=1)[:, None]
