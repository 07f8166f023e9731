"""Spectrograms of sounds as a picture: log frequency, dark colours, no axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_WIDTH, _HEIGHT, _GAP = 960, 176, 8  # pixels
_FFT = 4096
_LOWEST, _HIGHEST = 50.0, 10_000.0  # Hz
_RANGE = 72.0  # dB below the loudest point that are visible
# From dark blue through violet and orange to pale yellow. Brightness rises throughout, so it also works in grey.
_COLOURS = (
    (8, 8, 20),
    (34, 20, 74),
    (90, 24, 110),
    (160, 42, 98),
    (221, 84, 62),
    (249, 156, 46),
    (252, 244, 190),
)


def draw_spectrograms(media: list[Tensor], rate: int) -> Image:
    """Draw sounds [C, N] one above the other, on the time scale of the longest. `rate` in Hz. ValueError for none."""
    from PIL import Image

    if not media:
        raise ValueError("preview: there is nothing to show")
    longest = max(m.shape[-1] for m in media)
    rows = [np.full((_HEIGHT, _WIDTH), -_RANGE, dtype=np.float32) for _ in media]
    for row, sound in zip(rows, media, strict=True):
        width = max(1, round(_WIDTH * sound.shape[-1] / longest))
        row[:, :width] = _decibels(sound, rate, width)
    table = _table()
    height = len(rows) * (_HEIGHT + _GAP) - _GAP
    canvas = np.full((height, _WIDTH, 3), 24, dtype=np.uint8)
    for i, row in enumerate(rows):
        top = i * (_HEIGHT + _GAP)
        canvas[top : top + _HEIGHT] = table[((row / _RANGE + 1) * 255).round().clip(0, 255).astype(np.uint8)]
    return Image.fromarray(canvas)


def _decibels(sound: Tensor, rate: int, width: int) -> np.ndarray:
    """[C, N] -> dB below the loudest point [_HEIGHT, width], the highest frequency first."""
    mono = sound.detach().to("cpu", torch.float32).mean(0)
    mono = torch.nn.functional.pad(mono, (_FFT // 2, _FFT // 2))
    # One window for each column, so that nothing needs to be resized.
    starts = torch.linspace(0, mono.numel() - _FFT, width).round().long()
    frames = mono.unfold(0, _FFT, 1)[starts]
    spectrum = torch.view_as_real(torch.fft.rfft(frames * torch.hann_window(_FFT), dim=1))
    power = (
        spectrum.square().sum(-1).T
    )  # [bins, width]; squares, as the modulus of a complex number takes a root
    shown = 10 * torch.log10(_rows(rate) @ power + 1e-12)
    return (shown - shown.max()).flip(0).numpy()


def _rows(rate: int) -> Tensor:
    """[_HEIGHT, bins] weights: each row is a triangle around its frequency, at least two bins wide, summing to 1."""
    highest = min(_HIGHEST, rate / 2)
    lowest = min(_LOWEST, highest / 2)
    centre = torch.logspace(math.log10(lowest), math.log10(highest), _HEIGHT, dtype=torch.float64)[:, None]
    bins = torch.arange(_FFT // 2 + 1, dtype=torch.float64)[None] * rate / _FFT
    reach = (centre * (highest / lowest) ** (1 / (_HEIGHT - 1)) - centre).clamp_min(rate / _FFT)
    weight = (1 - (bins - centre).abs() / reach).clamp_min(0)
    return (weight / weight.sum(1, keepdim=True).clamp_min(1e-12)).float()


def _table() -> np.ndarray:
    """The colour table [256, 3] uint8, linearly interpolated."""
    places = np.linspace(0, 255, len(_COLOURS))
    return np.stack([np.interp(np.arange(256), places, c) for c in zip(*_COLOURS, strict=True)], 1).astype(
        np.uint8
    )
