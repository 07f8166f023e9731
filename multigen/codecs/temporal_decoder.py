"""The VAE of Stable Video Diffusion: each frame is encoded by itself, and all frames are decoded together.

    x = z scale,    z from the encoder's posterior

Blattmann et al. 2023 (arXiv:2311.15127), appendix D.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from multigen.codecs.pipeline_vae import PipelineVAE
from multigen.storage.diffusers_folder import TEMPORAL_DECODER, vae_factor


class TemporalDecoder(PipelineVAE):
    """Videos [B, 3, T, H, W] in [-1, 1] <-> latents [B, C, T, H / f, W / f], in fp32.

    path  the pipeline's folder, whose `vae` is used, or its id on the hub (hf:owner/name)

    It is neither trained nor saved.
    """

    def __init__(self, *, path: str | None = None) -> None:
        super().__init__(path, TEMPORAL_DECODER)
        self.channels = self.entry("latent_channels", int, 4)
        self.scale = self.entry("scaling_factor", float, 0.18215)
        self.factor = vae_factor(self.folder)

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return [C, T, H / f, W / f]. ValueError for other media, and for sides that f does not divide."""
        if len(media) != 4 or media[0] != 3:
            raise ValueError(f"this VAE takes videos of 3 channels, not media of shape {tuple(media)}.")
        _, count, height, width = media
        if height % self.factor or width % self.factor:
            raise ValueError(f"the VAE's factor {self.factor} does not divide the size {height} x {width}.")
        return self.channels, count, height // self.factor, width // self.factor

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, T, H, W] with sides up to multiples of f."""
        return (*media[:-2], *(-(-side // self.factor) * self.factor for side in media[-2:]))

    def encode(self, media: Tensor, *, seed: int | None = None) -> Tensor:
        """[B, 3, T, H, W] -> latents: the mode of each posterior, or with a seed a sample of it, row k's seed + k."""
        self.shape(tuple(media.shape[1:]))
        frames = rearrange(media.float(), "b c t h w -> (b t) c h w")
        with torch.autocast(media.device.type, enabled=False):
            return rearrange(
                self.latents(frames, seed) * self.scale, "(b t) c h w -> b c t h w", b=len(media)
            )

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Latents -> [B, 3, T, H, W], clamped to [-1, 1]. `seed` has no effect."""
        frames = rearrange(x.float() / self.scale, "b c t h w -> (b t) c h w")
        with torch.autocast(x.device.type, enabled=False):
            made = self.vae.decode(frames, num_frames=x.shape[2]).sample.clamp(-1, 1)
        return rearrange(made, "(b t) c h w -> b c t h w", b=len(x))

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Blocks of f x f pixels of a frame that are all kept: bool [T, H, W] -> bool [T, H / f, W / f]."""
        f = self.factor
        return rearrange(keep, "t (h f) (w g) -> t h w (f g)", f=f, g=f).all(-1)

    def known(self, media: Tensor, keep: Tensor) -> Tensor:
        """Latents of the frames that are all known, 0 elsewhere: [B, C, T, H / f, W / f]."""
        whole = keep.flatten(1).all(1).nonzero()[:, 0].tolist()
        out = media.new_zeros(len(media), *self.shape(tuple(media.shape[1:])))
        if whole:
            out[:, :, whole] = self.encode(media[:, :, whole])
        return out
