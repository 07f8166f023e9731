"""The VAE of Stable Audio: sound <-> latents, from a folder in diffusers' format.

Evans et al. 2024 (arXiv:2404.10301), section 3.1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.noise import normal
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import OOBLECK, Frozen


class Oobleck(Codec):
    """Sound [B, C, N] in [-1, 1] <-> latents [B, C', N / hop], in fp32.

    path    the pipeline's folder, whose `vae` is used, or its id on the hub (hf:owner/name)
    window  latents of the shortest sound that is made: a shorter one is its beginning, as Stable Audio was trained

    It is neither trained nor saved. ValueError for sound of other channels.
    """

    device_of: Tensor

    def __init__(self, *, path: str | None = None, window: int = 1) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"window: {window!r} is not allowed. Allowed: 1 or more.")
        self.window = window
        folder = diffusers_folder.located(path)
        config = diffusers_folder.component(folder, "vae", OOBLECK)
        entry = functools.partial(diffusers_folder.entry, config, folder / "vae")
        self.media_channels = entry("audio_channels", int, 2)
        self.channels = entry("decoder_input_channels", int, 64)
        self.hop = math.prod(entry("downsampling_ratios", tuple[int, ...], (2, 4, 4, 8, 8)))
        self.network = Frozen(functools.partial(diffusers_folder.network, folder, "vae", OOBLECK))
        # Follows the module to its device; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

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
            posterior = self.network.on(self.device_of.device).encode(padded).latent_dist
            x = posterior.mode()
            if seed is not None:
                rows = [normal(x.shape[1:], seed + k, "posterior") for k in range(len(x))]
                x = x + posterior.std * torch.stack(rows).to(x.device)
            return x

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C', L] -> [B, C, L hop], clamped to [-1, 1]. `seed` has no effect."""
        return self.unclamped(x).clamp(-1, 1)

    def unclamped(self, x: Tensor) -> Tensor:
        """As `decode`, without the clamp."""
        with torch.autocast(x.device.type, enabled=False):
            return self.network.on(self.device_of.device).decode(x.float()).sample

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Latents whose hop is all kept: bool [N] -> bool [L]. Kept samples are put back after decoding."""
        more = -len(keep) % self.hop
        return (
            torch.nn.functional.pad(keep, (0, more), value=bool(keep[-1])).unflatten(0, (-1, self.hop)).all(1)
        )

    def fit(self, media: Iterable[Tensor]) -> None:
        """Do nothing: its latents have about unit variance."""
