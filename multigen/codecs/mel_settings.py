"""Settings of a mel spectrogram, and its filterbank.

A frame is `fft` samples under a Hann window; frames are `hop` samples apart. Bin b has the magnitude

    m_b = sum_f filter_b(f) |STFT(f)| 2/fft

with triangular filters on Slaney's mel scale, each of unit area in Hz (Slaney 1998, "Auditory Toolbox", version 2).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from multigen.storage.torchaudio_shim import import_torchaudio


@dataclass(frozen=True)
class MelSettings:
    """Settings of a mel spectrogram. A vocoder works with the settings that it was trained with.

    rate        of the sound, Hz
    fft, hop    samples of a frame, and between frames
    bins        mel bins
    components  principal components kept of each frame; None: all bins
    low, high   range of the filters, Hz
    floor       added to magnitudes before the logarithm

    Raises ValueError for values out of range.
    """

    rate: int
    fft: int
    hop: int
    bins: int
    components: int | None
    low: float
    high: float
    floor: float

    def __post_init__(self) -> None:
        fft, bins, rate = self.fft, self.bins, self.rate
        if fft < 16 or fft % 2:
            raise ValueError(f"fft: {fft} is not allowed. Allowed: even numbers from 16 on.")
        if not 1 <= self.hop <= fft // 2:
            raise ValueError(f"hop: {self.hop} is not allowed. Allowed: 1 to fft // 2 = {fft // 2}.")
        if bins < 1:
            raise ValueError(f"bins: {bins} is not allowed. Allowed: 1 or more.")
        if self.components is not None and not 1 <= self.components <= bins:
            raise ValueError(
                f"components: {self.components} is not allowed. Allowed: 1 to bins = {bins}, or null."
            )
        if not 0 <= self.low < self.high <= rate / 2:
            raise ValueError(
                f"low, high: {self.low} to {self.high} Hz is not allowed. Allowed: rising, 0 to {rate / 2} Hz."
            )
        if not 0 < self.floor < 1:
            raise ValueError(f"floor: {self.floor} is not allowed. Allowed: over 0, under 1.")

    @property
    def channels(self) -> int:
        """Numbers of a frame in model space."""
        return self.bins if self.components is None else self.components

    def differences(self, other: MelSettings) -> list[str]:
        """List the settings that differ: "hop: 512 there, 256 here", `other` being there."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return [f"{k}: {theirs[k]} there, {mine[k]} here" for k in mine if mine[k] != theirs[k]]

    def filters(self) -> Tensor:
        """Compute the filterbank [fft // 2 + 1, bins]. ValueError if a filter lies between two FFT bins."""
        functional = import_torchaudio().functional
        edges, bins = self.fft // 2 + 1, self.bins
        filters = functional.melscale_fbanks(
            edges, self.low, self.high, bins, self.rate, norm="slaney", mel_scale="slaney"
        )
        empty = int((filters.amax(0) == 0).sum())
        if empty:
            raise ValueError(
                f"bins: {empty} of {bins} mel filters lie between the {edges} FFT bins. Raise fft, or lower bins."
            )
        return filters
