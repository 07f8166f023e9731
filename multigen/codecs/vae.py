"""The VAE of a latent diffusion pipeline: pictures <-> latents, from a folder in diffusers' format.

    x = (z - shift) scale,    z from the encoder's posterior

Rombach et al. 2022 (arXiv:2112.10752), section 3.1 and appendix G.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.noise import normal
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import AUTOENCODER, Frozen

SCALE = 0.18215  # the factor of files that do not state it


class VAE(Codec):
    """Pictures [B, 3, H, W] in [-1, 1] <-> latents [B, C, H / f, W / f] near unit variance, in fp32.

    path      the pipeline's folder, whose `vae` is used, or its id on the hub (hf:owner/name)
    multiple  sides of latents are multiples of it, as a network of patches wants them

    An AutoencoderKL with the scaling factor of its configuration. It is neither trained nor saved.
    """

    device_of: Tensor

    def __init__(self, *, path: str | None = None, multiple: int = 1) -> None:
        super().__init__()
        if multiple < 1:
            raise ValueError(f"multiple: {multiple!r} is not allowed. Allowed: 1 or more.")
        self.multiple = multiple
        folder = diffusers_folder.located(path)
        config = diffusers_folder.component(folder, "vae", AUTOENCODER)
        entry = functools.partial(diffusers_folder.entry, config, folder / "vae")
        self.media_channels, self.channels = entry("in_channels", int, 3), entry("latent_channels", int, 4)
        self.scale = entry("scaling_factor", float, SCALE)
        self.offset = entry("shift_factor", float | None, None) or 0.0
        self.factor = diffusers_folder.vae_factor(folder)
        self.network = Frozen(functools.partial(diffusers_folder.network, folder, "vae", AUTOENCODER))
        # Follows the module to its device; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

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
            posterior = self.network.on(self.device_of.device).encode(media.float()).latent_dist
            x = posterior.mode()
            if seed is not None:
                rows = [normal(x.shape[1:], seed + k, "posterior") for k in range(len(x))]
                x = x + posterior.std * torch.stack(rows).to(x.device)
            return (x - self.offset) * self.scale

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C, H / f, W / f] -> [B, 3, H, W], clamped to [-1, 1]. `seed` has no effect."""
        with torch.autocast(x.device.type, enabled=False):
            latents = x.float() / self.scale + self.offset
            return self.network.on(self.device_of.device).decode(latents).sample.clamp(-1, 1)

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Blocks of f x f pixels that are all kept: bool [H, W] -> bool [H / f, W / f].

        Convolutions reach further, so latents near the border are not known exactly. The kept pixels themselves are put
        back after decoding.
        """
        return keep.unflatten(1, (-1, self.factor)).unflatten(0, (-1, self.factor)).all(3).all(1)

    def known(self, media: Tensor, keep: Tensor) -> Tensor:
        """Encode media [B, 3, H, W] whose unknown part is grey, as inpainting networks see them."""
        return self.encode(media * keep.to(media))

    def unknown(self, shape: tuple[int, ...]) -> Tensor:
        """Encode a grey picture."""
        sides = [side * self.factor for side in shape[1:]]
        return self.encode(torch.zeros(1, self.media_channels, *sides, device=self.device_of.device))

    def fit(self, media: Iterable[Tensor]) -> None:
        """Do nothing: the scaling factor comes with the weights."""
