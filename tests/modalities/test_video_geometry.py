"""Geometry of video: every display matrix, and pixels that are not square."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from multigen.errors import MediaError
from multigen.modalities.video import Video

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3


def record(path: Path, levels: np.ndarray, codec: str = "libx264", *, sar: Fraction | None = None,
           turn: tuple[int, bool, bool] = (0, False, False)) -> Path:  # fmt: skip
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = levels.shape[1], levels.shape[0], "yuv420p"
        if sar is not None:
            stream.codec_context.sample_aspect_ratio = sar
        if any(turn):
            stream.set_display_rotation(*turn)
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format="rgb24")
            frame.pts = k
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrors", [(False, False), (True, False), (False, True)])
def test_turned_and_mirrored(tmp_path: Path, degrees: int, mirrors: tuple[bool, bool], suffix: str) -> None:
    """Turned by `degrees` counter-clockwise, then mirrored: all eight orientations, as phones and selfies have them."""
    stored = np.kron(np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8), np.ones((16, 24, 1), np.uint8))
    shown = np.rot90(stored, degrees // 90)
    shown = shown[:, ::-1] if mirrors[0] else shown
    shown = shown[::-1] if mirrors[1] else shown
    media = Video(size=32, fps=25).read(record(tmp_path / f"a{suffix}", stored, turn=(degrees, *mirrors)))
    found = ((media[:, 0] + 1) * 127.5).movedim(0, -1).numpy()
    assert found.shape == shown.shape
    inside = [(y, x) for y in (4, -4) for x in (4, -4)]
    for y, x in inside:
        assert np.abs(found[y, x] - shown[y, x]).max() < 12, (y, x)


@pytest.mark.parametrize(
    ("suffix", "width", "sar"),
    [
        (".mp4", 180, Fraction(16, 11)),
        (".mkv", 180, Fraction(16, 11)),
        (".mpg", 180, Fraction(16, 11)),
        (".mp4", 180, Fraction(8, 9)),
        (".mkv", 180, Fraction(8, 9)),
    ],
)
def test_a_circle_stays_one(tmp_path: Path, suffix: str, width: int, sar: Fraction) -> None:
    """PAL 16:9 and NTSC 4:3 in small; the side is enlarged that loses no pixels. MPEG-2 knows only the shape of all."""
    height = 144
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((x - width / 2 + 0.5) * float(sar), y - height / 2 + 0.5)
    levels = np.where((radius < 50)[..., None], 255, 0).astype(np.uint8).repeat(3, 2)
    path = record(tmp_path / f"a{suffix}", levels, "mpeg2video" if suffix == ".mpg" else "libx264", sar=sar)
    if suffix == ".mpg":
        with av.open(str(path)) as file:
            sar = file.streams.video[0].sample_aspect_ratio or Fraction(1)
    lit = Video(size=64, fps=25).read(path)[0, 0] > 0
    shown = (height, round(width * sar)) if sar > 1 else (round(height / sar), width)
    assert lit.shape == shown
    high, wide = int(lit.any(1).sum()), int(lit.any(0).sum())
    assert wide / high == pytest.approx(1.0, abs=0.06 if suffix == ".mpg" else 0.025)
    info = Video().info(path)
    assert (info.height, info.width) == shown


def test_a_turned_video_is_enlarged_before_it_is_turned(tmp_path: Path) -> None:
    levels = np.full((32, 48, 3), 200, np.uint8)
    path = record(tmp_path / "a.mp4", levels, sar=Fraction(2), turn=(90, False, False))
    assert Video(fps=25).read(path).shape[2:] == (96, 32)


def test_what_is_enlarged_obeys_the_limit(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", np.full((32, 48, 3), 200, np.uint8), sar=Fraction(4))
    assert Video(max_pixels=32 * 192).read(path).shape[3] == 192
    with pytest.raises(MediaError, match=r"192 x 32 pixels a frame; the limit max_pixels"):
        Video(max_pixels=32 * 191).read(path)


def test_a_damaged_aspect_ratio_is_ignored(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", np.full((32, 48, 3), 200, np.uint8), sar=Fraction(200))
    assert Video(fps=25).read(path).shape[2:] == (32, 48)
