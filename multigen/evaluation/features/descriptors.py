"""Descriptors of sound within one window: bands, cepstrum, pitch classes, contrast, level and brightness."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

RATE = 22050  # Hz
FFT, STEP = 2048, 512  # samples: a frame within the window, and the distance between frames
LONG, LONG_STEP = 8192, 2048  # samples: frames that are long enough to resolve the notes of chords
BANDS, FINE, CEPSTRUM = 32, 64, 12  # mel bands, mel bands of the cepstrum, cepstral coefficients
LOW, HIGH = 40.0, 10_000.0  # Hz: the mel bands
_OCTAVES = (0, 200, 400, 800, 1600, 3200, 11025)  # Hz: edges of the contrast's bands
FLOOR = 1e-10  # of a power: -100 dB of full scale
# For each kind of descriptor: how many, then centre and scale of its means and of its deviations over a window, rounded
# from renderings of music on seven instruments, noise and clicks. They give the kinds equal weight.
_KINDS = {
    "bands": (BANDS, -4.7, 1.4, 0.55, 0.6),
    "cepstrum": (CEPSTRUM, 0.0, 1.3, 0.5, 0.3),
    "chroma": (12, 0.083, 0.12, 0.04, 0.05),
    "contrast": (6, 3.4, 1.2, 0.55, 0.25),
    "level": (1, -1.85, 1.0, 0.3, 0.5),
    "centroid": (1, 9.3, 1.0, 0.3, 0.45),
    "spread": (1, 0.95, 0.3, 0.1, 0.08),
    "flatness": (1, -3.2, 1.2, 0.3, 0.2),
    "rolloff": (1, 10.2, 1.2, 0.4, 0.4),
    "flux": (1, 0.05, 0.04, 0.05, 0.05),
}
_ONSET = ((0.25, 0.2), (0.3, 0.2))  # centre and scale of the largest flux, and of the share of its top tenth
WIDTH = 2 * sum(kind[0] for kind in _KINDS.values()) + len(_ONSET)


def scaling() -> Tensor:
    """[2, WIDTH]: centre and scale of each descriptor, in the order of `Spectral`."""
    centres: list[float] = []
    scales: list[float] = []
    for count, mean, mean_scale, deviation, deviation_scale in _KINDS.values():
        centres += [mean] * count + [deviation] * count
        scales += [mean_scale] * count + [deviation_scale] * count
    centres += [m for m, _ in _ONSET]
    scales += [s for _, s in _ONSET]
    return torch.tensor([centres, scales])


def pitch_classes() -> Tensor:
    """[bins, 12]: the pitch class, from C, that each bin of the long frames from 100 to 1500 Hz counts for."""
    frequency = torch.arange(1, LONG // 2 + 1) * (RATE / LONG)
    pitch = (69 + 12 * torch.log2(frequency / 440)).round().long() % 12
    inside = ((frequency >= 100) & (frequency <= 1500)).float()
    found = torch.nn.functional.one_hot(pitch, 12).float() * inside[:, None]
    return torch.cat([torch.zeros(1, 12), found])


def power(sound: Tensor, size: int, step: int) -> Tensor:
    """[B, N] -> power spectra [B, T, size // 2 + 1]; a sine of amplitude 1 has a power of 1 in its bin."""
    window = torch.hann_window(size, device=sound.device)
    spectrum = torch.stft(sound, size, step, window=window, center=False, return_complex=True)
    return (spectrum.abs() * (2 / window.sum())).square().transpose(1, 2)


def log10(power: Tensor) -> Tensor:
    """log10 of a power above the floor of -100 dB."""
    return (power + FLOOR).log10()


def contrast(power: Tensor) -> Tensor:
    """[B, T, bins] -> [B, T, 6]: log power of each band's strongest fifth over that of its weakest fifth."""
    found: list[Tensor] = []
    for low, high in pairwise(_OCTAVES):
        first, last = math.ceil(low * FFT / RATE), math.ceil(high * FFT / RATE)
        band = power[..., first:last].sort(dim=-1).values
        fifth = max(1, band.shape[-1] // 5)
        found.append(log10(band[..., -fifth:].mean(-1)) - log10(band[..., :fifth].mean(-1)))
    return torch.stack(found, -1)


def shape_of_spectrum(power: Tensor) -> list[Tensor]:
    """[B, T, bins] -> level, centroid, spread, flatness and roll-off, each [B, T, 1].

    Pitches are log2 of Hz, from 20 Hz up. In silence only the floor is left, which is flat.
    """
    audible = power[..., 2:] + FLOOR
    frequency = torch.arange(2, power.shape[-1], device=power.device) * (RATE / FFT)
    pitch = frequency.log2()
    total = audible.sum(-1, keepdim=True)
    share = audible / total
    centroid = (share * pitch).sum(-1, keepdim=True)
    spread = (share * (pitch - centroid).square()).sum(-1, keepdim=True).sqrt()
    flatness = audible.log10().mean(-1, keepdim=True) - audible.mean(-1, keepdim=True).log10()
    place = (share.cumsum(-1) < 0.85).sum(-1, keepdim=True).clamp_max(len(pitch) - 1)
    return [total.log10(), centroid, spread, flatness, pitch[place]]


def flux(power: Tensor) -> Tensor:
    """[B, T, bins] -> [B, T - 1, 1]: mean rise of log(1 + 1000 magnitude) from one frame to the next."""
    level = torch.log1p(1000 * power.sqrt())
    return (level[:, 1:] - level[:, :-1]).clamp_min(0).mean(-1, keepdim=True)
