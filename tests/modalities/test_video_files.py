"""What browsers and QuickTime need of a written video; and animations as people have them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen.modalities.image import Image
from multigen.modalities.video import Video

SIZES = [((32, 32), 16, 8.0), ((33, 47), 5, 8.0), ((1, 1), 1, 8.0), ((64, 64), 10, 23.976), ((2, 2), 3, 0.5)]
SIZES += [((64, 64), 40, 120.0)]


@pytest.mark.parametrize(("size", "frames", "fps"), SIZES)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_written_videos_play_everywhere(
    tmp_path: Path, size: tuple[int, int], frames: int, fps: float, suffix: str
) -> None:
    """H.264 of the high profile at most, yuv420p, even sides, the index first, the rate and the length asked for."""
    video = Video(size=size, frames=frames, fps=fps)
    media = torch.linspace(-0.9, 0.9, frames).view(1, frames, 1, 1).expand(3, frames, *size).contiguous()
    path = tmp_path / f"a{suffix}"
    video.write(media, path)
    back = video.read(path)
    assert back.shape == media.shape
    assert float((back - media).abs().max()) < 0.02
    raw = path.read_bytes()
    assert 0 < raw.find(b"moov") < raw.find(b"mdat")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert context.profile in ("High", "Main", "Constrained Baseline", "Baseline")
        assert context.width % 2 == context.height % 2 == 0
        assert float(stream.average_rate or 0) == pytest.approx(fps, rel=1e-4)
        assert stream.frames == frames
        assert float((stream.duration or 0) * (stream.time_base or 0)) == pytest.approx(
            frames / fps, rel=1e-3
        )


@pytest.mark.parametrize(("size", "frames", "fps"), SIZES[:5])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_written_animations_come_back(
    tmp_path: Path, size: tuple[int, int], frames: int, fps: float, suffix: str
) -> None:
    video = Video(size=size, frames=frames, fps=fps)
    media = torch.linspace(-0.9, 0.9, frames).view(1, frames, 1, 1).expand(3, frames, *size).contiguous()
    video.write(media, tmp_path / f"a{suffix}")
    back = video.read(tmp_path / f"a{suffix}")
    assert back.shape == media.shape
    assert float((back - media).abs().max()) < 0.02


DURATIONS = [100, 200, 50, 400, 100, 150]  # ms


def squares() -> list[PillowImage.Image]:
    """A square of 8 x 16 pixels that moves by 4 pixels a frame, on a clear ground."""
    out = []
    for k in range(6):
        one = PillowImage.new("RGBA", (40, 24), (0, 0, 0, 0))
        one.paste((255, 40 * k, 0, 255), (4 * k, 4, 4 * k + 8, 20))
        out.append(one)
    return out


def painted(path: Path) -> list[int]:
    """Pixels that are painted, frame by frame at 20 frames/s; the ground is white."""
    media = Video(size=24, frames=10, fps=20).read(path)
    return [int((media[2, k] < 0).sum()) for k in range(media.shape[1])]


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_gifs_keep_or_clear_what_was_painted(tmp_path: Path, disposal: int) -> None:
    first, *rest = squares()
    how = {"duration": DURATIONS, "loop": 0, "disposal": disposal, "transparency": 0}
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, **how)
    shown = [k for k, ms in enumerate(DURATIONS) for _ in range(ms // 50)]  # 20 frames in one second
    grown = [128 + 64 * k for k in shown]  # left as it is, each square adds half of its own
    assert painted(tmp_path / "a.gif") == (grown if disposal in (0, 1) else [128] * 20)
    assert Video().info(tmp_path / "a.gif").duration == pytest.approx(1.0)
    assert Image(size=24).read(tmp_path / "a.gif").shape == (3, 24, 40)


def test_animated_png_keeps_its_clear_ground(tmp_path: Path) -> None:
    first, *rest = squares()
    first.save(
        tmp_path / "a.apng", "PNG", save_all=True, append_images=rest, duration=DURATIONS, loop=0, disposal=1
    )
    assert painted(tmp_path / "a.apng") == [128] * 20


def test_frames_of_no_duration_last_as_browsers_show_them(tmp_path: Path) -> None:
    first, *rest = squares()
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=0, loop=0, disposal=2)
    assert Video().info(tmp_path / "a.gif").duration == pytest.approx(0.6)
    assert painted(tmp_path / "a.gif") == [128] * 12
    PillowImage.fromarray(np.zeros((24, 40, 3), np.uint8)).save(tmp_path / "one.gif")
    assert painted(tmp_path / "one.gif") == [960] * 2
