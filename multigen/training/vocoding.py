"""Vocoding: the task of recipes that train their codec, the vocoder of a mel codec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.codecs import Codec
from multigen.codecs.mel import Mel
from multigen.codecs.neural_vocoder import NeuralVocoder
from multigen.core.noise import stream, uniform
from multigen.datasets import Dataset
from multigen.errors import MediaError, RecipeError
from multigen.recipe.schema import Train
from multigen.training import ranks
from multigen.training.batch import Batch
from multigen.training.critics import Spectrograms
from multigen.training.task import MODEL, Task

FFTS = (512, 1024, 2048, 4096)
CRITIC = "critic"
_FRAMES = 64  # mel frames of each item in a batch; longer items are cropped at random
_HELD_OUT = 8  # held-out items that are measured


class Vocoding(Task):
    """Teaches a neural vocoder to reconstruct media from their mel spectrograms.

    Spectral losses: log-mel (HiFi-GAN: Kong et al. 2020, arXiv:2010.05646, eq. 3), STFT magnitudes of four sizes
    (Yamamoto et al. 2020, arXiv:1910.11480, eq. 4-6), and the network's spectrum before the inverse STFT. Adversarial
    losses from `train.critic`, if there is one.

    Each loss is a mean over the rows of a rank, averaged over ranks. That equals the mean over the global batch, except
    for feature matching, which is relative to the rows at hand.
    """

    def __init__(
        self, *, codec: Codec, dataset: Dataset, settings: Train, seed: int, device: torch.device
    ) -> None:
        if not isinstance(codec, Mel) or not isinstance(codec.vocoder, NeuralVocoder):
            raise RecipeError("codec: only the vocoder of a mel codec can be trained (codec.vocoder=neural)")
        if settings.accumulate != 1:
            raise RecipeError(
                f"train.accumulate: {settings.accumulate} is not allowed for a vocoder. Allowed: 1."
            )
        self.codec, self.vocoder, self.dataset = codec, codec.vocoder, dataset
        self.seed, self.device = seed, device
        networks: dict[str, nn.Module] = {MODEL: nn.ModuleDict({"codec": codec})}
        self.critic: Spectrograms | None = None
        if settings.critic is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stream(seed, "critic").initial_seed())
                critic: Spectrograms = registry.build("critic", settings.critic, where="train.critic")
            self.critic = networks[CRITIC] = critic.to(device)
        self.networks = networks
        self.seen, self.held_out = (
            list(items)[:: max(len(items) // _HELD_OUT, 1)][:_HELD_OUT] for items in dataset.split()
        )

    def training(self) -> AbstractContextManager[None]:
        """Do nothing: a vocoder trains in fp32."""
        return nullcontext()

    def mode(self, training: bool) -> None:
        """Switch the codec between training and evaluation."""
        self.codec.train(training)

    def losses(self, batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        """Yield the loss of the critic, once it has joined, then that of the model."""
        real, mel = self._target(self._cut(batch.media, step))
        places = ranks.rows(len(mel) * ranks.world())
        seeds = [stream(self.seed, "vocoder", step, row).initial_seed() % 2**62 for row in places]
        spectrum = self.vocoder.spectrum(mel, seeds=seeds)
        made = self.vocoder.sound(spectrum)
        critic = self.critic if self.critic is not None and progress >= self.critic.start else None
        if critic is not None:
            yield CRITIC, iter([critic.loss(real, made.detach()) / ranks.world()])
        loss = self._spectral(real, made) + 2 * _apart(spectrum.abs(), self._spectrum(real, self.codec.fft))
        if critic is not None:
            loss = loss + critic.teach(real, made)
        yield MODEL, iter([loss / ranks.world()])

    def details(self) -> dict[str, float]:
        """Return nothing: the loss is not logged by component."""
        return {}

    def measure(self) -> dict[str, float]:
        """Return the held-out error of log-mels and of STFT magnitudes, their sum as "mean", and "seen".

        "seen" is the same sum of as many items that are trained on.
        """
        row = self._measure(self.held_out)
        seen = self._measure(self.seen) if row else {}
        return {**row, **({"seen": seen["mean"]} if seen else {})}

    @torch.no_grad()
    def _measure(self, indices: Sequence[int]) -> dict[str, float]:
        mels, magnitudes = [], []
        for index in indices:
            try:
                media = self.dataset[index]["media"]
            except MediaError:  # the loader reports unreadable files
                continue
            real, mel = self._target(media[None])
            made = self.vocoder(mel, seeds=[self.seed] * len(mel))
            mels.append(self._log_mels_apart(real, made).item())
            magnitudes.append(self._magnitudes_apart(real, made).item())
        if not mels:
            return {}
        row = {"log-mel": sum(mels) / len(mels), "stft": sum(magnitudes) / len(mels)}
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
        return 3 * self._log_mels_apart(real, made) + self._magnitudes_apart(real, made)

    def _log_mels_apart(self, real: Tensor, made: Tensor) -> Tensor:
        return (self.codec.log_mel(made[:, 0]) - self.codec.log_mel(real[:, 0])).abs().mean()

    def _magnitudes_apart(self, real: Tensor, made: Tensor) -> Tensor:
        pairs = [(self._spectrum(made, n), self._spectrum(real, n)) for n in FFTS]
        return torch.stack([_apart(a, b) for a, b in pairs]).mean()

    def _spectrum(self, sound: Tensor, fft: int) -> Tensor:
        """[B, 1, N] -> STFT magnitudes [B, fft // 2 + 1, frames]. The codec's FFT size has the codec's hop."""
        window = torch.hann_window(fft, device=sound.device)
        hop = self.codec.hop if fft == self.codec.fft else fft // 4
        return torch.stft(sound[:, 0], fft, hop, window=window, return_complex=True).abs()


def _apart(made: Tensor, real: Tensor) -> Tensor:
    """Spectral convergence plus log distance of magnitudes [B, F, T]."""
    quiet = 1e-4 * real.shape[1]  # about 80 dB below full scale
    convergence = (made - real).norm(dim=(1, 2)) / real.norm(dim=(1, 2)).clamp_min(quiet)
    return convergence.mean() + ((made + quiet).log() - (real + quiet).log()).abs().mean()
