"""Distances between the STFT magnitudes of sounds, for training what makes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FFTS: Mapping[int, int] = {512: 128, 1024: 256, 2048: 512, 4096: 1024}  # FFT size -> hop, samples


def magnitudes(sound: Tensor, fft: int, hop: int) -> Tensor:
    """[B, 1, N] -> STFT magnitudes [B, fft // 2 + 1, frames] under a Hann window."""
    window = torch.hann_window(fft, device=sound.device)
    return torch.stft(sound[:, 0], fft, hop, window=window, return_complex=True).abs()


def apart(made: Tensor, real: Tensor) -> Tensor:
    """Spectral convergence plus log distance of magnitudes [B, F, T]."""
    quiet = 1e-4 * real.shape[1]  # about 80 dB below full scale
    convergence = (made - real).norm(dim=(1, 2)) / real.norm(dim=(1, 2)).clamp_min(quiet)
    return convergence.mean() + ((made + quiet).log() - (real + quiet).log()).abs().mean()


def magnitudes_apart(made: Tensor, real: Tensor, ffts: Mapping[int, int] = FFTS) -> Tensor:
    """Mean of `apart` over FFT sizes, each with its hop, of sounds [B, 1, N].

    Yamamoto et al. 2020 (arXiv:1910.11480), eq. 4-6. Sizes for which the sounds are too short are left out.
    """
    sizes = {fft: hop for fft, hop in ffts.items() if fft // 2 < real.shape[-1]} or {64: 16}
    return torch.stack([apart(magnitudes(made, *s), magnitudes(real, *s)) for s in sizes.items()]).mean()
