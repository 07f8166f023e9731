"""Vocoding: the task of recipes that train the vocoder of a mel codec."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.codecs.mel import Mel
from multigen.codecs.neural_vocoder import NeuralVocoder
from multigen.core.noise import stream, uniform
from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.recipe.schema import Train
from multigen.training import ranks
from multigen.training.coding import Coding, Copies
from multigen.training.spectra import FFTS, apart, magnitudes, magnitudes_apart

_FRAMES = 64  # mel frames of each item in a batch; longer items are cropped at random


class Vocoding(Coding):
    """Teaches a neural vocoder to reconstruct media from their mel spectrograms.

    Spectral losses: log-mel (HiFi-GAN: Kong et al. 2020, arXiv:2010.05646, eq. 3), STFT magnitudes of four sizes
    (Yamamoto et al. 2020, arXiv:1910.11480, eq. 4-6), and the network's spectrum before the inverse STFT. Adversarial
    losses from `train.critic`, if there is one.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        modality: Modality,
        dataset: Dataset,
        settings: Train,
        seed: int,
        device: torch.device,
    ) -> None:
        if not isinstance(codec, Mel) or not isinstance(codec.vocoder, NeuralVocoder):
            raise RecipeError("codec: only the vocoder of a mel codec can be trained (codec.vocoder=neural)")
        super().__init__(
            codec=codec, modality=modality, dataset=dataset, settings=settings, seed=seed, device=device
        )
        self.codec, self.vocoder = codec, codec.vocoder
        # The codec's FFT size has the codec's hop.
        self.ffts = {fft: codec.hop if fft == codec.fft else hop for fft, hop in FFTS.items()}

    def copies(self, media: Tensor, step: int) -> Copies:
        """Copy media [B, C, N], each row cropped at random, as sounds [B C, 1, n]."""
        real, mel = self._target(self._cut(media, step))
        places = ranks.rows(len(mel) * ranks.world())
        seeds = [stream(self.seed, "vocoder", step, row).initial_seed() % 2**62 for row in places]
        spectrum = self.vocoder.spectrum(mel, seeds=seeds)
        made = self.vocoder.sound(spectrum)
        loss = self._spectral(real, made) + 2 * apart(
            spectrum.abs(), magnitudes(real, self.codec.fft, self.codec.hop)
        )
        return Copies(real, made, loss)

    def errors(self, media: Tensor) -> dict[str, float]:
        """Measure the errors of log-mels and of STFT magnitudes, and their sum as "mean"."""
        real, mel = self._target(media)
        made = self.vocoder(mel, seeds=[self.seed] * len(mel))
        row = {
            "log-mel": self._log_mels_apart(real, made).item(),
            "stft": magnitudes_apart(made, real, self.ffts).item(),
        }
        return {**row, "mean": row["log-mel"] + row["stft"]}

    def _cut(self, media: Tensor, step: int) -> Tensor:
        """Crop media [B, C, N] to at most _FRAMES hops, each row at a random place."""
        length = _FRAMES * self.codec.hop
        spare = media.shape[-1] - length
        if spare <= 0:
            return media
        places = ranks.rows(len(media) * ranks.world())
        starts = [int(uniform((1,), self.seed, "cut", step, row) * (spare + 1)) for row in places]
        return torch.stack([m[:, s : s + length] for m, s in zip(media, starts, strict=True)])

    @torch.no_grad()
    def _target(self, media: Tensor) -> tuple[Tensor, Tensor]:
        """Media [B, C, N] -> sounds [B C, 1, n], n a multiple of the hop, and their mel magnitudes."""
        media = media[..., : media.shape[-1] // self.codec.hop * self.codec.hop].to(self.device).float()
        mel = self.codec.magnitudes(self.codec.encode(media))
        return media.flatten(0, 1)[:, None], mel

    def _spectral(self, real: Tensor, made: Tensor) -> Tensor:
        return 3 * self._log_mels_apart(real, made) + magnitudes_apart(made, real, self.ffts)

    def _log_mels_apart(self, real: Tensor, made: Tensor) -> Tensor:
        return (self.codec.log_mel(made[:, 0]) - self.codec.log_mel(real[:, 0])).abs().mean()
