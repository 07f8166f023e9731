"""The VAE of AudioLDM and its vocoder: sound <-> latents of log-mel frames, from a folder in diffusers' format.

    f = log(max(m, 1e-5)),    m mel magnitudes of a frame
    x = z scale,              z from the encoder's posterior of f, whose mel axis is folded into its channels

and back through a HiFi-GAN. Liu et al. 2023 (arXiv:2301.12503), section 3; Kong et al. 2020 (arXiv:2010.05646).
"""

from __future__ import annotations

import functools
import math

import torch
from einops import rearrange
from torch import Tensor

from multigen.codecs.mel_settings import MelSettings
from multigen.codecs.pipeline_vae import PipelineVAE
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import AUTOENCODER, VOCODER, Frozen, vae_factor

_FLOOR = 1e-5


class MelVAE(PipelineVAE):
    """Sound [B, 1, N] in [-1, 1] <-> latents [B, C bins / f, N / (f hop)], in fp32.

    path  the pipeline's folder, whose `vae` and `vocoder` are used, or its id on the hub (hf:owner/name)
    fft   samples of a frame

    Bins, hop and rate are the vocoder's. Nothing is trained or saved. ValueError for sound of other channels, and for
    an fft that does not go with them.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, *, path: str | None = None, fft: int = 1024) -> None:
        super().__init__(path, AUTOENCODER)
        place, config = self.folder / "vocoder", diffusers_folder.component(self.folder, "vocoder", VOCODER)
        read = functools.partial(diffusers_folder.entry, config, place)
        bins, rate = read("model_in_dim", int, 80), read("sampling_rate", int, 16000)
        self.hop = math.prod(read("upsample_rates", tuple[int, ...], (4, 4, 4, 4)))
        self.factor, self.fft = vae_factor(self.folder), fft
        if bins % self.factor:
            raise ValueError(
                f"path: {path}: the VAE's factor {self.factor} does not divide the vocoder's {bins} bins."
            )
        self.bins, self.step = bins // self.factor, self.factor * self.hop
        self.scale = self.entry("scaling_factor", float, 0.18215)
        self.channels = self.entry("latent_channels", int, 4) * self.bins
        self.vocoder = Frozen(functools.partial(diffusers_folder.network, self.folder, "vocoder", VOCODER))
        settings = MelSettings(rate, fft, self.hop, bins, None, 0.0, rate / 2, _FLOOR)
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        self.register_buffer("filters", settings.filters(), persistent=False)

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return [C bins / f, N / (f hop)], rounded up. ValueError for other channels."""
        if len(media) != 2 or media[0] != 1:
            raise ValueError(f"this VAE takes sound of 1 channel, not media of shape {tuple(media)}.")
        return self.channels, -(-media[1] // self.step)

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[1, N] with N up to whole latents."""
        return media[0], -(-media[1] // self.step) * self.step

    def log_mel(self, sound: Tensor) -> Tensor:
        """Sound [B, N] -> [B, N / hop, bins], a frame in the middle of fft samples around its place."""
        half = self.fft // 2
        # Mirrored at the ends, as in training, if the sound is long enough for that.
        mode = "reflect" if sound.shape[1] > half else "constant"
        padded = torch.nn.functional.pad(sound[:, None], (half, half), mode=mode)[:, 0]
        spectrum = torch.stft(
            padded, self.fft, self.hop, window=self.window, center=False, return_complex=True
        )
        magnitude = spectrum.abs()[..., : sound.shape[1] // self.hop]
        return (magnitude.transpose(1, 2) @ self.filters).clamp_min(_FLOOR).log()

    def encode(self, media: Tensor, *, seed: int | None = None) -> Tensor:
        """[B, 1, N] -> latents: the mode of each posterior, or with a seed a sample of it, row k's seed + k.

        Sound whose length is no multiple of f hop goes on in silence.
        """
        _, length = self.shape(tuple(media.shape[1:]))
        padded = torch.nn.functional.pad(media.float(), (0, length * self.step - media.shape[2]))
        with torch.autocast(media.device.type, enabled=False):
            z = self.latents(self.log_mel(padded[:, 0])[:, None], seed) * self.scale
        return rearrange(z, "b c t f -> b (c f) t")

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Latents -> [B, 1, N], clamped to [-1, 1]. `seed` has no effect."""
        return self.unclamped(x).clamp(-1, 1)

    def unclamped(self, x: Tensor) -> Tensor:
        """As `decode`, without the clamp."""
        z = rearrange(x.float(), "b (c f) t -> b c t f", f=self.bins) / self.scale
        with torch.autocast(x.device.type, enabled=False):
            frames = self.vae.decode(z).sample[:, 0]
            sound = self.vocoder.on(x.device)(frames)
        return sound[:, None, : x.shape[2] * self.step]

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Latents whose samples are all kept: bool [N] -> bool [N / (f hop)]. Kept samples are put back later."""
        more = -len(keep) % self.step
        return (
            torch.nn.functional.pad(keep, (0, more), value=bool(keep[-1]))
            .unflatten(0, (-1, self.step))
            .all(1)
        )
