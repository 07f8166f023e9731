"""Mel: sound <-> log-mel frames, projected onto their principal components, each of unit variance.

    f = log(m + floor)                     m [bins] mel magnitudes of a frame (`mel_settings`)
    x = (f - mean) V/s                     V [bins, components] principal components, s their standard deviations

and back: f = V (s x) + mean, m = e^f - floor, then a vocoder. V, s and mean are measured over the training set
(`mel_statistics`); V = 1 without `components`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from einops import rearrange
from torch import Tensor

from multigen.codecs import Codec
from multigen.codecs.mel_settings import MelSettings
from multigen.codecs.mel_statistics import FrameStatistics, principal_components
from multigen.codecs.vocoder import (
    GRIFFIN_LIM,
    NEURAL,
    UNTRAINED,
    LoadVocoder,
    build_vocoder,
    exclude_vocoder,
    no_weights,
)
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.registry import Given

_HEADROOM = math.log(10 ** (3 / 20))  # 3 dB, by which decoded bins may exceed the loudest of the training set
_LEAST_VARIANCE = 1e-6  # a component that never changes stays near 0 instead of amplifying nothing


class Mel(Codec):
    """Sound [B, C, N] <-> [B, C * components, N // hop].

    modality       audio, which gives the rate
    load_vocoder   loads the weights of a trained vocoder by shipped name, file or run folder
    fft, hop       samples of a frame, and between frames
    bins           mel bins; enough to tell neighbouring notes apart keep a chord in tune, and 80 are not enough
    components     principal components kept of each frame, whitened; null: all bins, each standardised
    low, high      range of the mel filters, Hz; high null: half the rate
    floor          magnitude where the logarithm turns linear, so that what is far below it counts as silence
    vocoder        griffin_lim; neural, to be trained by a recipe without a backbone; or the weights of such a training
    iterations     of Griffin-Lim
    width, blocks  of the neural vocoder's network

    Levels are absolute: decoded media have the level of the training set, and no bin exceeds its loudest by more than
    3 dB. Raises ValueError for values out of range and for a modality other than audio.
    """

    window: Tensor
    filters: Tensor
    mean: Tensor
    basis: Tensor
    scale: Tensor
    ceiling: Tensor

    def __init__(
        self,
        *,
        modality: Given[Modality],
        load_vocoder: Given[LoadVocoder] = no_weights,
        fft: int = 2048,
        hop: int = 512,
        bins: int = 229,
        components: int | None = 64,
        low: float = 0.0,
        high: float | None = None,
        floor: float = 3e-5,
        iterations: int = 16,
        vocoder: str = GRIFFIN_LIM,
        width: int = 384,
        blocks: int = 6,
    ) -> None:
        super().__init__()
        axes = len(modality.shape()) - 1
        if axes != 1:
            raise ValueError(f"a mel codec takes audio; the modality {modality.name} has {axes} axes.")
        if iterations < 0:
            raise ValueError(f"iterations: {iterations} is not allowed. Allowed: 0 or more.")
        rate = modality.shape(duration=1.0)[1]
        top = rate / 2 if high is None else high
        self.settings = MelSettings(rate, fft, hop, bins, components, low, top, floor)
        self.hop, self.fft, self.floor, self.components = hop, fft, floor, self.settings.channels
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        self.register_buffer("filters", self.settings.filters() * (2 / fft), persistent=False)
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("basis", torch.zeros(bins, self.components))
        self.register_buffer("scale", torch.zeros(self.components))  # 0: not fitted
        self.register_buffer("ceiling", torch.zeros(()))  # of the logarithm
        self.vocoder = build_vocoder(
            vocoder,
            self.settings,
            self.filters,
            load_vocoder,
            iterations=iterations,
            width=width,
            blocks=blocks,
        )
        self.learns = vocoder == NEURAL
        if vocoder not in UNTRAINED:
            exclude_vocoder(self)

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """(C, N) -> (C * components, N // hop). ValueError for other axes, and for an N too short to analyse."""
        if len(media) != 2:
            raise ValueError(
                f"a mel codec takes audio [channels, samples], not media of shape {tuple(media)}."
            )
        if media[1] < self._least:
            given, needed = (
                f"{math.ceil(10_000 * n / self.settings.rate) / 10_000:g} s" for n in (media[1], self._least)
            )
            raise ValueError(f"{given} are too short: an FFT of {self.fft} samples needs {needed} or more.")
        return media[0] * self.components, media[1] // self.hop

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """(C, N) -> (C, N up to whole hops), at least as many as can be analysed."""
        channels, samples = media
        return channels, max(-(-samples // self.hop) * self.hop, self._least)

    @property
    def _least(self) -> int:
        """The fewest samples that are taken: half a frame at each end reaches beyond them."""
        return (self.fft // 2 // self.hop + 1) * self.hop

    def encode(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, C * components, N // hop]. MultigenError without statistics."""
        self._needs_fit()
        self.shape(tuple(media.shape[1:]))
        whiten = self.basis / self.scale
        sounds = rearrange(media, "b c n -> (b c) n").float()
        x = _in_parts(sounds, lambda some, _: (self.log_mel(some) - self.mean) @ whiten)
        return rearrange(x, "(b c) t k -> b (c k) t", b=len(media))

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C * components, T] -> [B, C, T * hop]. Row k's phases are keyed by seed + k.

        On the CPU, the sound of a channel is the same to the bit, whatever else is in the batch.
        """
        channels = self._channels(x)
        # Channels of one sample share their first phases, so that they stay together.
        seeds = [seed + row // channels for row in range(len(x) * channels)]
        rows = rearrange(x, "b (c k) t -> (b c) k t", c=channels)
        sound = _in_parts(rows, lambda some, at: self.vocoder(self.magnitudes(some), seeds=seeds[at]))
        return rearrange(sound, "(b c) 1 n -> b c n", b=len(x))

    def magnitudes(self, x: Tensor) -> Tensor:
        """[B, C * components, T] -> linear mel magnitudes [B * C, bins, T], the input of a vocoder."""
        level = self.levels(x).flatten(0, 1)
        mel = (level.minimum(self.ceiling).exp() - self.floor).clamp_min(0)
        return mel.transpose(1, 2).contiguous()

    def levels(self, x: Tensor) -> Tensor:
        """[B, C * components, T] -> log-mel frames [B, C, T, bins], affine in x."""
        frames = rearrange(x.float(), "b (c k) t -> b c t k", c=self._channels(x))
        return (frames * self.scale) @ self.basis.T + self.mean

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Frames whose whole window is kept: bool [N] -> bool [N // hop]. Beyond the ends there is silence."""
        lost = torch.nn.functional.pad((~keep).float(), (self.fft // 2, self.fft // 2))
        reached = torch.nn.functional.max_pool1d(lost[None, None], self.fft, self.hop)[0, 0]
        return reached[: len(keep) // self.hop] == 0

    def fit(self, media: Iterable[Tensor]) -> None:
        """Measure mean and principal components of the log-mel frames of media [C, N].

        MultigenError for no more frames than components.
        """
        found = FrameStatistics(len(self.mean))
        for one in media:
            self.shape(tuple(one.shape))
            found.add(rearrange(self.log_mel(one.to(self.mean).float()), "c t k -> (c t) k"))
        if found.count <= self.components:
            text = (
                f"the mel codec has {found.count} frames of training media for {self.components} components"
            )
            raise MultigenError(f"{text}; it needs more media, or longer ones.")
        mean, covariance = found.moments()
        if self.settings.components is None:
            basis, variance = torch.eye(len(mean)), covariance.diagonal()
        else:
            basis, variance = principal_components(covariance, self.components)
        self.mean.copy_(mean.float())
        self.basis.copy_(basis.float())
        self.scale.copy_(variance.clamp_min(_LEAST_VARIANCE).sqrt().float())
        self.ceiling.fill_(found.loudest + _HEADROOM)

    def log_mel(self, sound: Tensor) -> Tensor:
        """Sound [B, N] -> log(magnitude + floor) [B, N // hop, bins]."""
        # Zeros beyond the ends, where torch would mirror, so that sounds shorter than a window can be taken.
        padded = torch.nn.functional.pad(sound, (self.fft // 2, self.fft // 2))
        spectrum = torch.stft(
            padded, self.fft, self.hop, window=self.window, center=False, return_complex=True
        )
        magnitude = spectrum.abs()[..., : sound.shape[-1] // self.hop]
        return (magnitude.transpose(1, 2) @ self.filters + self.floor).log()

    def _channels(self, x: Tensor) -> int:
        """Channels of the sound that x [B, C * components, T] stands for."""
        self._needs_fit()
        if x.shape[1] % self.components:
            raise ValueError(f"{x.shape[1]} channels are no multiple of the {self.components} components")
        return x.shape[1] // self.components

    def _needs_fit(self) -> None:
        if not bool(self.scale.any()):
            raise MultigenError(
                "the mel codec has no statistics yet: call fit with training media, or load a checkpoint."
            )


def _in_parts(rows: Tensor, work: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """Apply `work` to parts of `rows` [B, ...] and their places, and join the results.

    On the CPU each row is a part, in memory of its own: matrix products round differently in another batch or at
    another alignment, and Griffin-Lim multiplies the difference by 200. Elsewhere all rows are one part, because a loop
    would cost more in launches than it is worth.
    """
    if rows.device.type != "cpu" or not len(rows):
        return work(rows, slice(None))
    return torch.cat([work(rows[k : k + 1].clone(), slice(k, k + 1)) for k in range(len(rows))])
