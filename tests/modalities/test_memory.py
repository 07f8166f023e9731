"""Reading many files takes no more memory and no more open files."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from multigen.modalities.audio import Audio
from multigen.modalities.guard import Guard
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from tests.modalities.files import encode, film

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def resident() -> float:
    """MB of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def growth(act: Callable[[int], object], times: int, warm: int) -> tuple[float, int]:
    """MB and open files that `times` repetitions add, after some to warm up."""
    for k in range(warm):
        act(k)
    before = resident(), handles()
    for k in range(times):
        act(warm + k)
    return resident() - before[0], handles() - before[1]


def test_reading_keeps_nothing(tmp_path: Path) -> None:
    t = np.arange(44100 * 5) / 44100
    encode(
        tmp_path / "a.mp3", (0.3 * np.sin(2 * np.pi * 440 * t))[None].astype(np.float32), "libmp3lame", 44100
    )
    film(tmp_path / "a.mp4", np.arange(60) / 30, "libx264", "mp4")
    Image(size=64).write(torch.zeros(3, 300, 300), tmp_path / "a.png")
    video, audio, image = Video(size=32), Audio(), Image(size=64)

    def read(k: int) -> None:
        video.read(tmp_path / "a.mp4")
        audio.read(tmp_path / "a.mp3", start=2.0, duration=1.0)
        image.read(tmp_path / "a.png")

    megabytes, files = growth(read, 100, 20)
    assert megabytes < 20  # a leaked clip of each read would be 37 MB
    assert files == 0


def test_guarded_reading_keeps_nothing(tmp_path: Path) -> None:
    Image(size=64).write(torch.zeros(3, 300, 300), tmp_path / "a.png")
    guard, image = Guard(), Image(size=64)
    megabytes, files = growth(lambda _: guard("a", image.read, tmp_path / "a.png"), 75, 20)
    assert megabytes < 20  # one kept picture of each read would be 80 MB
    assert files == 0

    def start_and_end(_: int) -> None:
        own = Guard()
        own("a", image.info, tmp_path / "a.png")
        own.close()

    megabytes, files = growth(start_and_end, 15, 5)
    assert megabytes < 20
    assert files == 0
