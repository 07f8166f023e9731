"""Written videos: what browsers and QuickTime need, and the same frames at the same times when they are read again."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import torch
from PIL import Image as PillowImage

from multigen.modalities.video import Video

SIZES = [((32, 32), 16, 8.0), ((33, 47), 5, 8.0), ((1, 1), 1, 8.0), ((64, 64), 10, 23.976), ((2, 2), 3, 0.5),
         ((64, 64), 40, 120.0)]  # fmt: skip


@pytest.mark.parametrize(("size", "frames", "fps"), SIZES)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webp", ".png", ".gif"])
def test_it_comes_back(tmp_path: Path, size: tuple[int, int], frames: int, fps: float, suffix: str) -> None:
    video = Video(size=size, frames=frames, fps=fps)
    media = torch.linspace(-0.9, 0.9, frames).view(1, frames, 1, 1).expand(3, frames, *size).contiguous()
    path = tmp_path / f"a{suffix}"
    video.write(media, path)
    info, back = video.info(path), video.read(path)
    assert back.shape == media.shape
    assert (info.height, info.width) == size
    if frames > 1 or suffix in (".mp4", ".mov", ".mkv"):  # a still picture has no duration
        assert info.duration == pytest.approx(frames / fps, abs=0.011)
    fast = suffix == ".gif" and fps > 50
    assert float((back - media).abs().max()) < (0.15 if fast else 0.02)
    if suffix not in (".mp4", ".mov", ".mkv"):
        return
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.profile, context.pix_fmt) == ("h264", "High", "yuv420p")
        assert (context.width % 2, context.height % 2) == (0, 0)
    content = path.read_bytes()
    if suffix != ".mkv":
        assert 0 < content.find(b"moov") < content.find(b"mdat")


def test_a_gif_is_no_faster_than_browsers_show(tmp_path: Path) -> None:
    """Frames under 20 ms they show for 100 ms; frames are left out, so that the clip lasts as long as it should."""
    Video(fps=120).write(torch.rand(3, 40, 8, 8) * 2 - 1, tmp_path / "a.gif")
    with PillowImage.open(tmp_path / "a.gif") as file:
        durations = []
        for k in range(file.n_frames):  # pyright: ignore[reportAttributeAccessIssue]
            file.seek(k)
            durations.append(file.info["duration"])
    assert min(durations) >= 20
    assert sum(durations) == 330
