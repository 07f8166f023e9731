"""Analog bits: characters as bits, and bits as numbers that noise can be added to (Chen et al. 2022, arXiv:2208.04202).

    x[j] = 2 bit_j(k) - 1       of character k; decoded by the sign

Neighbours in the alphabet have nothing in common, so their numbers are no scale to move along; their bits are as far
apart as those of any others. Bits beyond the alphabet decode to a blank. A place is what the network sees of the places
around it, too: without the paper's self-conditioning, which needs the sampler's last answer as an input.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.registry import Given
from multigen_text.modality import Text


class AnalogBits(Codec):
    """Texts [B, 1, N] <-> bits [B, J, N] about -1 and 1, with J bits for a character."""

    def __init__(self, *, modality: Given[Text]) -> None:
        super().__init__()
        self.modality = modality
        self.count = len(modality.alphabet)
        self.bits = (self.count - 1).bit_length()

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        return (self.bits, *media[1:])

    def encode(self, media: Tensor) -> Tensor:
        places = self.modality.indices(media[:, 0])
        bits = (places[:, None] >> torch.arange(self.bits, device=media.device)[:, None]) & 1
        return 2.0 * bits - 1.0

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        weights = 2 ** torch.arange(self.bits, device=x.device)[:, None]
        places = ((x > 0) * weights).sum(1, keepdim=True)
        places = torch.where(places < self.count, places, 0)
        return 2.0 * places / (self.count - 1) - 1.0

    def latent_mask(self, keep: Tensor) -> Tensor:
        return keep

    def fit(self, media: Iterable[Tensor]) -> None:
        """Do nothing: bits have no statistics."""
