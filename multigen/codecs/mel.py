"""Mel: sound <-> log-mel frames, projected onto their principal components, each of unit variance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from einops import rearrange
from torch import Tensor

from multigen.codecs import Codec
from multigen.codecs.vocoder import GRIFFIN_LIM, NEURAL, hide
from multigen.codecs.vocoder import vocoder as build_vocoder
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage.torchaudio_shim import import_torchaudio


class Mel(Codec):
    """Sound [B, C, N] <-> [B, C * components, N // hop].

    Each frame of `fft` samples becomes `bins` mel magnitudes m from `low` to `high` Hz (null: half the rate; Slaney's
    scale and area normalisation; a magnitude of the STFT counts 2 / fft), then log(m + floor), then `components`
    principal components over the training set, whitened; null keeps all bins, each standardised. Enough bins to tell
    neighbouring notes apart and few components keep a chord in tune at a small size; 80 bins do not.

    `floor` is where the logarithm turns linear: what is far below it counts as silence. Levels are absolute, so that
    decoded media have the level of the training set, and nothing exceeds its loudest bin by more than 3 dB.

    `vocoder`: griffin_lim, of so many `iterations`; neural, of `width` channels and so many `blocks`, to be trained by
    a recipe without a backbone; or weights of such a training (shipped name, file or run folder).
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
        rate = modality.shape(duration=1.0)[1]
        top = rate / 2 if high is None else high
        _check(fft, hop, bins, components, low, top, floor, iterations, rate)
        self.hop, self.fft, self.floor = hop, fft, floor
        self.components = bins if components is None else components
        self._whiten = components is not None
        filters = _filters(fft, bins, low, top, rate)
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        self.register_buffer("filters", filters * (2 / fft), persistent=False)
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("basis", torch.zeros(bins, self.components))
        self.register_buffer("scale", torch.zeros(self.components))  # 0: not fitted
        self.register_buffer("ceiling", torch.zeros(()))  # of the logarithm
        heard = {"rate": rate, "fft": fft, "hop": hop, "bins": bins, "components": components}
        heard |= {"low": low, "high": top, "floor": floor}
        self.vocoder = build_vocoder(
            vocoder, self.filters, heard, iterations=iterations, width=width, blocks=blocks
        )
        self.learns = vocoder == NEURAL
        if vocoder not in (GRIFFIN_LIM, NEURAL):
            hide(self)

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """(C, N) -> (C * components, N // hop). ValueError if N is too short to analyse or there are other axes."""
        if len(media) != 2:
            raise ValueError(
                f"a mel codec takes audio [channels, samples], not media of shape {tuple(media)}."
            )
        least = (self.fft // 2 // self.hop + 1) * self.hop  # an STFT mirrors half a frame at each end
        if media[1] < least:
            raise ValueError(f"{media[1]} samples are too short: an FFT of {self.fft} needs {least} or more.")
        return media[0] * self.components, media[1] // self.hop

    def encode(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, C * components, N // hop]."""
        self._needs_fit()
        self.shape(tuple(media.shape[1:]))
        whiten = self.basis / self.scale
        sounds = rearrange(media, "b c n -> (b c) n").float()
        x = _in_parts(sounds, lambda some, _: (self.log_mel(some) - self.mean) @ whiten)
        return rearrange(x, "(b c) t k -> b (c k) t", b=len(media))

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C * components, T] -> [B, C, T * hop]. Row k's phases are keyed by seed + k.

        On the CPU a channel's sound is that of the channel alone, to the bit, whatever stands beside it.
        """
        channels = self._channels(x)
        # Channels of one sample share their phases at the start, so that they stay together.
        seeds = [seed + row // channels for row in range(len(x) * channels)]
        rows = rearrange(x, "b (c k) t -> (b c) k t", c=channels)
        sound = _in_parts(rows, lambda some, at: self.vocoder(self.magnitudes(some), seeds=seeds[at]))
        return rearrange(sound, "(b c) 1 n -> b c n", b=len(x))

    def magnitudes(self, x: Tensor) -> Tensor:
        """[B, C * components, T] -> linear mel magnitudes [B * C, bins, T], which a vocoder hears."""
        level = self.levels(x).flatten(0, 1)
        mel = (level.minimum(self.ceiling).exp() - self.floor).clamp_min(0)
        return mel.transpose(1, 2).contiguous()

    def levels(self, x: Tensor) -> Tensor:
        """[B, C * components, T] -> log-mel frames [B, C, T, bins]: affine in x."""
        frames = rearrange(x.float(), "b (c k) t -> b c t k", c=self._channels(x))
        return (frames * self.scale) @ self.basis.T + self.mean

    def keeps(self, keep: Tensor) -> Tensor:
        """Frames whose whole window is kept (what lies beyond the ends is silence): bool [N] -> bool [N // hop]."""
        lost = torch.nn.functional.pad((~keep).float(), (self.fft // 2, self.fft // 2))
        reached = torch.nn.functional.max_pool1d(lost[None, None], self.fft, self.hop)[0, 0]
        return reached[: len(keep) // self.hop] == 0

    def fit(self, media: Iterable[Tensor]) -> None:
        """Mean and principal components of the log-mel frames of media [C, N], summed in float64 as they come."""
        bins = len(self.mean)
        count, loudest = 0, -math.inf
        # On the CPU: not every device has float64 (MPS has none).
        total = torch.zeros(bins, dtype=torch.float64)
        square = torch.zeros(bins, bins, dtype=torch.float64)
        # A shift near the mean, so that the sum of squares keeps its digits.
        shift: Tensor | None = None
        for one in media:
            self.shape(tuple(one.shape))
            frames = rearrange(self.log_mel(one.to(self.mean).float()), "c t k -> (c t) k")
            frames = frames.to("cpu").double()  # in this order: the device need not know float64
            shift = frames.mean(0) if shift is None else shift
            count, loudest = count + len(frames), max(loudest, frames.max().item())
            total += (frames - shift).sum(0)
            square += (frames - shift).T @ (frames - shift)
        if shift is None or count <= self.components:
            text = f"the mel codec has {count} frames of training media for {self.components} components"
            raise MultigenError(f"{text}; it needs more of both length and number.")
        mean = total / count
        covariance = square / count - torch.outer(mean, mean)
        basis, variance = self._axes(covariance)
        self.mean.copy_((mean + shift).float())
        self.basis.copy_(basis.float())
        # A component that never changes stays near 0 instead of blowing up what is not there.
        self.scale.copy_(variance.clamp_min(1e-6).sqrt().float())
        self.ceiling.fill_(loudest + math.log(10 ** (3 / 20)))

    def _axes(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Directions [bins, components] and the variance along each, the largest first."""
        if not self._whiten:
            return torch.eye(len(covariance)), covariance.diagonal()
        variance, vectors = torch.linalg.eigh(covariance)
        variance, vectors = variance.flip(0)[: self.components], vectors.flip(1)[:, : self.components]
        # An eigenvector's sign is arbitrary: make its largest entry positive, the same on every machine.
        largest = vectors.abs().argmax(0, keepdim=True)
        return vectors * vectors.gather(0, largest).sign(), variance

    def log_mel(self, sound: Tensor) -> Tensor:
        """Sound [B, N] -> log(magnitude + floor) [B, N // hop, bins]."""
        # Zeros beyond the ends, where torch would reflect, so that sounds shorter than a window can be taken.
        padded = torch.nn.functional.pad(sound, (self.fft // 2, self.fft // 2))
        spectrum = torch.stft(
            padded, self.fft, self.hop, window=self.window, center=False, return_complex=True
        )
        magnitude = spectrum.abs()[..., : sound.shape[-1] // self.hop]
        return (magnitude.transpose(1, 2) @ self.filters + self.floor).log()

    def _channels(self, x: Tensor) -> int:
        """Of the sound that x [B, C * components, T] stands for."""
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
    """`work` on parts of `rows` [B, ...] and their places, joined again.

    On the CPU each row is a part, in memory of its own: matrix products round otherwise in another batch or at another
    alignment, and Griffin-Lim makes 200 times more of that. Elsewhere all rows are one part: a loop would
    cost more in launches than it is worth.
    """
    if rows.device.type != "cpu" or not len(rows):
        return work(rows, slice(None))
    return torch.cat([work(rows[k : k + 1].clone(), slice(k, k + 1)) for k in range(len(rows))])


def _filters(fft: int, bins: int, low: float, high: float, rate: int) -> Tensor:
    """[fft // 2 + 1, bins]: Slaney's mel filters, each of unit area in Hz."""
    functional = import_torchaudio().functional
    edges = fft // 2 + 1
    filters = functional.melscale_fbanks(edges, low, high, bins, rate, norm="slaney", mel_scale="slaney")
    empty = int((filters.amax(0) == 0).sum())
    if empty:
        raise ValueError(
            f"bins: {empty} of {bins} mel filters lie between the {edges} FFT bins. Raise fft, or lower bins."
        )
    return filters


def _check(
    fft: int,
    hop: int,
    bins: int,
    components: int | None,
    low: float,
    high: float,
    floor: float,
    iterations: int,
    rate: int,
) -> None:
    if fft < 16 or fft % 2:
        raise ValueError(f"fft: {fft} is not allowed. Allowed: even numbers from 16 on.")
    if not 1 <= hop <= fft // 2:
        raise ValueError(f"hop: {hop} is not allowed. Allowed: 1 to fft // 2 = {fft // 2}.")
    if bins < 1:
        raise ValueError(f"bins: {bins} is not allowed. Allowed: 1 or more.")
    if components is not None and not 1 <= components <= bins:
        raise ValueError(f"components: {components} is not allowed. Allowed: 1 to bins = {bins}, or null.")
    if not 0 <= low < high <= rate / 2:
        raise ValueError(
            f"low, high: {low} to {high} Hz is not allowed. Allowed: rising, 0 to {rate / 2} Hz."
        )
    if not 0 < floor < 1:
        raise ValueError(f"floor: {floor} is not allowed. Allowed: over 0, under 1.")
    if iterations < 0:
        raise ValueError(f"iterations: {iterations} is not allowed. Allowed: 0 or more.")
