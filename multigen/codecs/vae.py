"""The VAE of a latent diffusion pipeline: pictures <-> latents, from a folder in diffusers' format.

    x = (z - shift) scale,    z from the encoder's posterior

Rombach et al. 2022 (arXiv:2112.10752), section 3.1 and appendix G.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.codecs.pipeline_vae import PipelineVAE, check_multiple
from multigen.registry import Given
from multigen.storage.diffusers_folder import AUTOENCODER, Turns, vae_factor

SCALE = 0.18215  # the factor of files that do not state it


class VAE(PipelineVAE):
    """Pictures [B, 3, H, W] in [-1, 1] <-> latents [B, C, H / f, W / f] near unit variance, in fp32.

    path      the pipeline's folder, whose `vae` is used, a single file of it, or its id on the hub (hf:owner/name)
    config    of a single file: a folder in diffusers' format that says what the file does not
    multiple  sides of latents are multiples of it, as a network of patches wants them
    tiling    large pictures are encoded and decoded in overlapping tiles, one after another: less memory, faint seams
    slicing   a batch is encoded and decoded one after another: less memory

    An AutoencoderKL with the scaling factor of its configuration. It is neither trained nor saved.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        config: str | None = None,
        multiple: int = 1,
        tiling: bool = False,
        slicing: bool = False,
        turns: Given[Turns | None] = None,
    ) -> None:
        check_multiple(multiple)
        super().__init__(path, AUTOENCODER, config, tiling=tiling, slicing=slicing, turns=turns)
        self.multiple = multiple
        self.media_channels = self.entry("in_channels", int, 3)
        self.channels = self.entry("latent_channels", int, 4)
        self.scale = self.entry("scaling_factor", float, SCALE)
        self.offset = self.entry("shift_factor", float | None, None) or 0.0
        self.factor = vae_factor(self.folder)

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return [C, H / f, W / f]. ValueError for other media, and for sides that f does not divide."""
        if len(media) != 3 or media[0] != self.media_channels:
            raise ValueError(
                f"a VAE takes pictures of {self.media_channels} channels, not media of shape {tuple(media)}."
            )
        _, height, width = media
        if height % self.factor or width % self.factor:
            raise ValueError(f"the VAE's factor {self.factor} does not divide the size {height} x {width}.")
        return (self.channels, height // self.factor, width // self.factor)

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, H, W] with sides up to multiples of f, times `multiple`."""
        step = self.factor * self.multiple
        return (*media[:-2], *(-(-side // step) * step for side in media[-2:]))

    def encode(self, media: Tensor, *, seed: int | None = None) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, C, H / f, W / f]: the mode of each posterior, or with a seed a sample of it.

        Row k's noise is keyed by seed + k.
        """
        self.shape(tuple(media.shape[1:]))
        with torch.autocast(media.device.type, enabled=False):
            return (self.latents(media.float(), seed) - self.offset) * self.scale

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C, H / f, W / f] -> [B, 3, H, W], clamped to [-1, 1]. `seed` has no effect."""
        with torch.autocast(x.device.type, enabled=False):
            latents = x.float() / self.scale + self.offset
            return self.vae.decode(latents).sample.clamp(-1, 1)

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Blocks of f x f pixels that are all kept: bool [H, W] -> bool [H / f, W / f].

        Convolutions reach further, so latents near the border are not known exactly. The kept pixels themselves are put
        back after decoding.
        """
        return keep.unflatten(1, (-1, self.factor)).unflatten(0, (-1, self.factor)).all(3).all(1)

    def known(self, media: Tensor, keep: Tensor) -> Tensor:
        """Encode media [B, 3, H, W] whose unknown part is grey, as inpainting networks see them."""
        return self.encode(media * keep.to(media))

    def known_of(self, media: Tensor, keep: Tensor, x0: Tensor) -> Tensor:
        """As `Codec.known_of`: each with its unknown part grey."""
        return self.encode(media * keep[:, None].to(media))

    def unknown(self, shape: tuple[int, ...]) -> Tensor:
        """Encode a grey picture."""
        sides = [side * self.factor for side in shape[1:]]
        return self.encode(torch.zeros(1, self.media_channels, *sides, device=self.device_of.device))
