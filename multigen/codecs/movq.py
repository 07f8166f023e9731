"""The MoVQ of Kandinsky (Zheng et al. 2022, arXiv:2209.09002): pictures <-> latents that are not quantised here."""

from __future__ import annotations

from torch import Tensor

from multigen.codecs.vae import PictureVAE
from multigen.registry import Given
from multigen.storage.diffusers_folder import MOVQ, Turns


class Movq(PictureVAE):
    """Pictures [B, 3, H, W] in [-1, 1] <-> latents [B, C, H / f, W / f], in fp32.

    path  the pipeline's folder, whose `movq` is used, or its id on the hub (hf:owner/name)

    Sides of latents are multiples of f, as the pipeline makes them. It is neither trained nor saved.
    """

    def __init__(self, *, path: str | None = None, turns: Given[Turns | None] = None) -> None:
        super().__init__(path, MOVQ, name="movq", turns=turns)
        self.multiple = self.factor

    def latents(self, media: Tensor, seed: int | None) -> Tensor:
        """What the encoder gives; there is nothing to draw."""
        return self.vae.encode(media).latents

    def pictures(self, latents: Tensor) -> Tensor:
        """Latents -> pictures."""
        return self.vae.decode(latents, force_not_quantize=True).sample
