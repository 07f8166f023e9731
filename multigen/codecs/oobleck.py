"""The VAE of Stable Audio: sound <-> latents, from a folder in diffusers' format.

Evans et al. 2024 (arXiv:2404.10301), section 3.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.codecs.pipeline_vae import PipelineVAE
from multigen.registry import Given
from multigen.storage.diffusers_folder import OOBLECK, Turns


class Oobleck(PipelineVAE):
    """Sound [B, C, N] in [-1, 1] <-> latents [B, C', N / hop], in fp32.

    path    the pipeline's folder, whose `vae` is used, or its id on the hub (hf:owner/name)
    window  latents of the shortest sound that is made: a shorter one is its beginning, as Stable Audio was trained

    It is neither trained nor saved. ValueError for sound of other channels.
    """

    def __init__(
        self, *, path: str | None = None, window: int = 1, turns: Given[Turns | None] = None
    ) -> None:
        if window < 1:
            raise ValueError(f"window: {window!r} is not allowed. Allowed: 1 or more.")
        super().__init__(path, OOBLECK, turns=turns)
        self.window = window
        self.media_channels = self.entry("audio_channels", int, 2)
        self.channels = self.entry("decoder_input_channels", int, 64)
        self.hop = math.prod(self.entry("downsampling_ratios", tuple[int, ...], (2, 4, 4, 8, 8)))

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return [C', N / hop], rounded up. ValueError for other channels."""
        if len(media) != 2 or media[0] != self.media_channels:
            raise ValueError(
                f"this VAE takes sound of {self.media_channels} channels, not media of shape {tuple(media)}."
            )
        return self.channels, -(-media[1] // self.hop)

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, N] with N up to a multiple of the hop, at least `window` of them."""
        return media[0], max(-(-media[1] // self.hop), self.window) * self.hop

    def encode(self, media: Tensor, *, seed: int | None = None) -> Tensor:
        """[B, C, N] -> [B, C', N / hop]: the mode of each posterior, or with a seed a sample of it, row k's seed + k.

        Sound whose length is no multiple of the hop goes on in silence.
        """
        _, length = self.shape(tuple(media.shape[1:]))
        padded = torch.nn.functional.pad(media.float(), (0, length * self.hop - media.shape[2]))
        with torch.autocast(media.device.type, enabled=False):
            return self.latents(padded, seed)

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C', L] -> [B, C, L hop], clamped to [-1, 1]. `seed` has no effect."""
        return self.unclamped(x).clamp(-1, 1)

    def unclamped(self, x: Tensor) -> Tensor:
        """As `decode`, without the clamp."""
        with torch.autocast(x.device.type, enabled=False):
            return self.vae.decode(x.float()).sample

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Latents whose hop is all kept: bool [N] -> bool [L]. Kept samples are put back after decoding."""
        more = -len(keep) % self.hop
        return (
            torch.nn.functional.pad(keep, (0, more), value=bool(keep[-1])).unflatten(0, (-1, self.hop)).all(1)
        )
