"""Phases of a magnitude spectrogram: each peak continues at its own frequency.

    phi(t + 1) = phi(t) + 2 pi hop f/fft

where f is the peak's frequency in bins, from the parabola through its log magnitude and its neighbours':

    f = bin + (l_(-1) - l_(+1))/(2 (l_(-1) - 2 l_0 + l_(+1)))

Single-pass spectrogram inversion: Beauregard, Harish & Wyse 2015 ("Single pass spectrogram inversion"), section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def propagate(magnitude: Tensor, start: Tensor, fft: int, hop: int) -> Tensor:
    """Compute phases (rad) [B, bins, frames] of a magnitude spectrogram [B, bins, frames].

    Bins around a peak take its phase, with the alternating sign of a centred window. `start` [B, bins] are the phases
    before the first frame.
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
