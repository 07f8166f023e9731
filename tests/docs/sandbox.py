"""A folder with the files that the pages speak of, small and made by arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video

RATE = 22050


def disc(side: int, radius: float, at: float = 0.5) -> Tensor:
    """A red disc on white, [3, side, side]."""
    line = torch.arange(side) + 0.5
    inside = ((line[:, None] - side / 2) ** 2 + (line - at * side) ** 2).sqrt() < radius
    return torch.where(inside, torch.tensor([0.8, -0.7, -0.7])[:, None, None], torch.ones(3, 1, 1))


def tone(seconds: float, pitch: float = 440.0) -> Tensor:
    """[1, N] at 22.05 kHz."""
    return 0.3 * torch.sin(2 * math.pi * pitch * torch.arange(round(seconds * RATE)) / RATE)[None]


def clip(frames: int) -> Tensor:
    """A disc that moves to the right, [3, T, 32, 32]."""
    return torch.stack([disc(32, 6, 0.2 + 0.6 * k / frames) for k in range(frames)], dim=1)


def fill(folder: Path) -> None:
    """Write every file and folder that a page names."""
    image, audio = Image(size=64), Audio(rate=RATE)
    image.write(disc(64, 20), folder / "apple.png")
    image.write(disc(32, 10), folder / "small.png")
    mask = -torch.ones(3, 64, 64)
    mask[:, 32:] = 1
    image.write(mask, folder / "white_is_new.png")
    audio.write(tone(5.9), folder / "take.wav")
    audio.write(tone(9), folder / "long.wav")
    audio.write(tone(5.9, 300), folder / "dull.wav")
    Video(size=32, fps=8.0).write(clip(16), folder / "clip.mp4")
    Video(size=32, fps=8.0).write(clip(8), folder / "short.mp4")
    for name in ("ten_pictures", "my_songs"):
        (folder / name).mkdir()
    for k in range(10):
        image.write(disc(64, 8 + k), folder / "ten_pictures" / f"{k}.png")
        (folder / "ten_pictures" / f"{k}.txt").write_text("red apple")
    for k in range(3):
        audio.write(tone(6, 220 * (k + 1)), folder / "my_songs" / f"{k}.wav")
        (folder / "my_songs" / f"{k}.txt").write_text("a tone")
