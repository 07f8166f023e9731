"""Griffin-Lim: sound of mel magnitudes without training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multigen.core import noise


class GriffinLim(nn.Module):
    """Mel magnitudes -> STFT magnitudes -> phases -> sound, without training.

    Magnitudes: the least-squares answer, then multiplicative steps that keep it non-negative. Phases: first one pass
    of peaks that go on at their own frequency, from keyed random ones, then `iterations` of Griffin-Lim with
    momentum. The pass starts chords in tune, which random phases reach only after many iterations.
    """

    window: Tensor
    filters: Tensor
    inverse: Tensor

    def __init__(self, filters: Tensor, *, fft: int, hop: int, iterations: int) -> None:
        """`filters` [fft // 2 + 1, bins]: the mel filterbank that made the magnitudes from those of a Hann STFT."""
        super().__init__()
        self.fft, self.hop, self.iterations = fft, hop, iterations
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(filters.T.double()).float(), persistent=False)

    def forward(self, mel: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """[B, bins, frames] of linear mel magnitudes -> [B, 1, frames * hop], row k keyed by seeds[k]."""
        length = mel.shape[-1] * self.hop
        # A centred STFT of `length` samples has one frame more.
        magnitude = self.magnitudes(torch.cat([mel, mel[..., -1:]], -1))
        start = torch.stack([noise.uniform((magnitude.shape[1],), seed, "phase") for seed in seeds])
        phase = propagate(magnitude, 2 * math.pi * start.to(mel.device), self.fft, self.hop)
        return self.refine(magnitude, phase, length)[:, None]

    def magnitudes(self, mel: Tensor, steps: int = 16) -> Tensor:
        """STFT magnitudes [B, fft // 2 + 1, frames] >= 0 whose mels are near `mel`.

        From the clamped minimum-norm least squares, `steps` of Lee & Seung 2001 ("Algorithms for non-negative matrix
        factorization", eq. 4) with the filters held.
        """
        found = (self.inverse @ mel).clamp_min(1e-8)
        target = self.filters @ mel
        for _ in range(steps):
            found = found * target / (self.filters @ (self.filters.T @ found) + 1e-12)
        return found

    def refine(self, magnitude: Tensor, phase: Tensor, length: int) -> Tensor:
        """Sound [B, length] of the STFT magnitudes, from phases (rad), both [B, fft // 2 + 1, frames].

        Fast Griffin-Lim (Perraudin et al. 2013, "A fast Griffin-Lim algorithm", algorithm 2), momentum 0.99.
        """
        momentum = 0.99
        unit = torch.polar(torch.ones_like(phase), phase)
        before: Tensor | None = None
        for _ in range(self.iterations):
            now = self._analyse(self._synthesise(magnitude * unit, length))
            ahead = now if before is None else torch.lerp(before, now, 1 + momentum)
            unit = ahead / ahead.abs().clamp_min(1e-12)
            before = now
        return self._synthesise(magnitude * unit, length)

    def _analyse(self, sound: Tensor) -> Tensor:
        return torch.stft(sound, self.fft, self.hop, window=self.window, return_complex=True)

    def _synthesise(self, spectrum: Tensor, length: int) -> Tensor:
        return torch.istft(spectrum, self.fft, self.hop, window=self.window, length=length)


def propagate(magnitude: Tensor, start: Tensor, fft: int, hop: int) -> Tensor:
    """Phases (rad) [B, bins, frames] of peaks that each go on at their own frequency.

    Single-pass spectrogram inversion (Beauregard, Harish & Wyse 2015, "Single pass spectrogram inversion", section
    3): a peak's frequency comes from the parabola through its log magnitude and its two neighbours'; each frame turns
    by hop times that; bins around a peak take its phase, with the alternating sign of a centred window. `start`
    [B, bins] are the phases before the first frame.
    """
    bins = torch.arange(magnitude.shape[1], device=magnitude.device)
    level = magnitude.clamp_min(1e-9).log()
    low, mid, high = level[:, :-2], level[:, 1:-1], level[:, 2:]
    is_peak = nn.functional.pad((mid > low) & (mid >= high), (0, 0, 1, 1))
    offset = 0.5 * (low - high) / (low - 2 * mid + high).clamp_max(-1e-6)
    place = bins[:, None] + nn.functional.pad(offset.clamp(-0.5, 0.5), (0, 0, 1, 1))
    owner = _nearest(is_peak)
    turn = (2 * math.pi * hop / fft) * place.gather(1, owner)
    sign = math.pi * ((bins[:, None] - owner) % 2)
    phase, out = start, []
    for frame in range(magnitude.shape[-1]):
        phase = phase.gather(1, owner[..., frame]) + turn[..., frame] + sign[..., frame]
        phase = phase.remainder(2 * math.pi)  # fp32 must not run out of digits
        out.append(phase)
    return torch.stack(out, -1)


def _nearest(chosen: Tensor) -> Tensor:
    """[B, bins, frames] bool -> the index along bins of the nearest True; of the bin itself where there is none."""
    count = chosen.shape[1]
    bins = torch.arange(count, device=chosen.device)[:, None].expand_as(chosen)
    below = torch.where(chosen, bins, -4 * count).cummax(1).values
    above = torch.where(chosen, bins, 4 * count).flip(1).cummin(1).values.flip(1)
    near = torch.where(bins - below <= above - bins, below, above)
    return torch.where((near >= 0) & (near < count), near, bins)
