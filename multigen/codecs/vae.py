"""The VAE of a latent diffusion pipeline: pictures <-> latents, from its folder in diffusers' format."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.noise import normal
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Frozen

SCALE = 0.18215  # of files written before the factor was part of them (Rombach et al. 2022, arXiv:2112.10752)


class VAE(Codec):
    """Pictures [B, 3, H, W] in [-1, 1] <-> latents [B, C, H / f, W / f] near unit variance, in fp32.

    path: the pipeline's folder (its `vae` is taken), or its id on the hub (owner/name)

    An AutoencoderKL; its scaling factor is in its configuration. It is neither trained nor saved: it stays there.
    """

    device_of: Tensor

    def __init__(self, *, path: str | None = None) -> None:
        super().__init__()
        folder = diffusers_folder.located(path)
        config = diffusers_folder.component(folder, "vae")
        entry = functools.partial(diffusers_folder.entry, config, folder / "vae")
        self.media_channels, self.channels = entry("in_channels", int, 3), entry("latent_channels", int, 4)
        self.scale = entry("scaling_factor", float, SCALE)
        self.offset = entry("shift_factor", float | None, None) or 0.0
        self.factor = diffusers_folder.vae_factor(folder)
        self.network = Frozen(functools.partial(diffusers_folder.network, folder, "vae"))
        # Tells where the module was moved to; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, H / f, W / f]. ValueError for other than pictures of its channels whose sides f divides."""
        if len(media) != 3 or media[0] != self.media_channels:
            raise ValueError(
                f"a VAE takes pictures of {self.media_channels} channels; media of shape {tuple(media)} are not that."
            )
        _, height, width = media
        if height % self.factor or width % self.factor:
            raise ValueError(f"the VAE's factor {self.factor} does not divide the size {height} x {width}.")
        return (self.channels, height // self.factor, width // self.factor)

    def encode(self, media: Tensor, *, seed: int | None = None) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, C, H / f, W / f]: the mode of each posterior.

        With a seed a sample of it: row k's noise is keyed by seed + k.
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
        """[B, C, H / f, W / f] -> [B, 3, H, W], clamped to [-1, 1]. Nothing here is random: `seed` changes nothing."""
        with torch.autocast(x.device.type, enabled=False):
            latents = x.float() / self.scale + self.offset
            return self.network.on(self.device_of.device).decode(latents).sample.clamp(-1, 1)

    def keeps(self, keep: Tensor) -> Tensor:
        """Blocks of f x f pixels of which every one is kept: bool [H, W] -> bool [H / f, W / f].

        Convolutions reach further, so that what is near the border is not known exactly; what is kept of the picture
        itself is put back after decoding.
        """
        return keep.unflatten(1, (-1, self.factor)).unflatten(0, (-1, self.factor)).all(3).all(1)

    def fit(self, media: Iterable[Tensor]) -> None:
        """Its scaling factor came with it; `media` are not read."""
