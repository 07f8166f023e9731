"""Media that tests draw: no model and no data are needed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

KEY, OTHER = bytes(range(32)), b"another key of 32 bytes, at hand"
RATE = 16_000


def picture(side: int = 64, seed: int = 0) -> Tensor:
    """A few coloured discs on white, [3, H, W]."""
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    media = torch.ones(3, side, side)
    for _ in range(5):
        y, x, size, *colour = torch.rand(6, generator=rng).tolist()
        inside = (rows - y) ** 2 + (columns - x) ** 2 < (0.1 + 0.2 * size) ** 2
        media[:, inside] = torch.tensor(colour)[:, None] * 2 - 1
    return media


def clip(side: int = 32, frames: int = 8) -> Tensor:
    """A picture that moves, [3, T, H, W]."""
    still = picture(side)
    return torch.stack([still.roll(k, 2) for k in range(frames)], 1)


def tune(seconds: float = 6.0, rate: int = RATE) -> Tensor:
    """Chords of harmonic notes that fade, [1, N]."""
    time = torch.arange(round(seconds * rate)) / rate
    sound = torch.zeros_like(time)
    for k, note in enumerate((220, 277.2, 329.6, 440, 246.9, 370)):
        since = (time - 0.5 * (k % 3)).remainder(1.5)
        for harmonic in range(1, 9):
            sound += torch.sin(2 * math.pi * note * harmonic * time) * torch.exp(-3 * since) / harmonic
    return 0.1 * sound[None]
