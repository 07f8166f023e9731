"""Griffin-Lim: sound from mel magnitudes, without training.

STFT magnitudes S >= 0 of mel magnitudes m = F^T S come from least squares, then from multiplicative steps
(Lee & Seung 2001, "Algorithms for non-negative matrix factorization", eq. 4, with F held):

    S <- S * (F m)/(F F^T S)

Phases u = e^(i phi) come from peaks that continue (`phases`), then from fast Griffin-Lim (Perraudin et al. 2013,
"A fast Griffin-Lim algorithm", algorithm 2) with momentum a:

    c_k = STFT(ISTFT(S u)),    u <- (c_k + a (c_k - c_(k-1)))/|...|
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multigen.codecs.phases import propagate
from multigen.core import noise

_MOMENTUM = 0.99


class GriffinLim(nn.Module):
    """Mel magnitudes -> STFT magnitudes -> phases -> sound.

    filters     [fft // 2 + 1, bins], the mel filterbank that made the magnitudes from those of a Hann STFT
    fft, hop    samples of a frame, and between frames
    iterations  of Griffin-Lim. The first pass starts chords in tune, which random phases reach only after many
    """

    window: Tensor
    filters: Tensor
    inverse: Tensor

    def __init__(self, filters: Tensor, *, fft: int, hop: int, iterations: int) -> None:
        super().__init__()
        self.fft, self.hop, self.iterations = fft, hop, iterations
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(filters.T.double()).float(), persistent=False)

    def forward(self, mel: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """[B, bins, T] linear mel magnitudes -> [B, 1, T * hop]. Row k's first phases are keyed by seeds[k]."""
        length = mel.shape[-1] * self.hop
        # A centred STFT of `length` samples has one frame more.
        magnitude = self.magnitudes(torch.cat([mel, mel[..., -1:]], -1))
        start = torch.stack([noise.uniform((magnitude.shape[1],), seed, "phase") for seed in seeds])
        phase = propagate(magnitude, 2 * math.pi * start.to(mel.device), self.fft, self.hop)
        return self.refine(magnitude, phase, length)[:, None]

    def magnitudes(self, mel: Tensor, steps: int = 16) -> Tensor:
        """Find STFT magnitudes [B, fft // 2 + 1, T] >= 0 whose mels are near `mel` [B, bins, T]."""
        found = (self.inverse @ mel).clamp_min(1e-8)
        target = self.filters @ mel
        for _ in range(steps):
            found = found * target / (self.filters @ (self.filters.T @ found) + 1e-12)
        return found

    def refine(self, magnitude: Tensor, phase: Tensor, length: int) -> Tensor:
        """Compute the sound [B, length] of STFT magnitudes, from phases (rad), both [B, fft // 2 + 1, T]."""
        unit = torch.polar(torch.ones_like(phase), phase)
        before: Tensor | None = None
        for _ in range(self.iterations):
            now = self._analyse(self._synthesise(magnitude * unit, length))
            ahead = now if before is None else torch.lerp(before, now, 1 + _MOMENTUM)
            unit = ahead / ahead.abs().clamp_min(1e-12)
            before = now
        return self._synthesise(magnitude * unit, length)

    def _analyse(self, sound: Tensor) -> Tensor:
        return torch.stft(sound, self.fft, self.hop, window=self.window, return_complex=True)

    def _synthesise(self, spectrum: Tensor, length: int) -> Tensor:
        return torch.istft(spectrum, self.fft, self.hop, window=self.window, length=length)
