"""Animated pictures as people have them: disposal, partial frames, clear ground, durations of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from multigen.modalities.image import Image
from multigen.modalities.video import Video

DURATIONS = [100, 200, 50, 400, 100, 150]  # ms
SQUARE = 8 * 16  # pixels of what moves
# The square at each frame of 20 frames/s, and how much of the picture is painted where frames stay below later ones.
SHOWN = [0] * 2 + [1] * 4 + [2] + [3] * 8 + [4] * 2 + [5] * 3


def squares() -> list[PillowImage.Image]:
    frames = []
    for k in range(6):
        frame = PillowImage.new("RGBA", (40, 24), (0, 0, 0, 0))
        frame.paste((255, 40 * k, 0, 255), (4 * k, 4, 4 * k + 8, 20))
        frames.append(frame)
    return frames


def save(path: Path, **options: object) -> Path:
    first, *rest = squares()
    kinds = {".webp": {"lossless": True}, ".apng": {"format": "PNG", "disposal": 1}}
    options = {"duration": DURATIONS, **kinds.get(path.suffix, {}), **options}
    first.save(path, save_all=True, append_images=rest, loop=0, **options)
    return path


def painted(media: torch.Tensor) -> list[int]:
    """How many pixels of each frame are not white."""
    return [int((media[2, k] < 0).sum()) for k in range(media.shape[1])]


@pytest.mark.parametrize(("name", "options"), [
    ("a.gif", {"disposal": 2}), ("a.gif", {"disposal": 3}), ("a.webp", {}), ("a.apng", {}),
])  # fmt: skip
def test_each_frame_is_drawn_on_clear_ground(tmp_path: Path, name: str, options: dict[str, int]) -> None:
    path = save(tmp_path / name, **options)
    media = Video(size=24, fps=20).read(path)
    assert Video().info(path).duration == pytest.approx(1.0)
    assert media.shape == (3, 20, 24, 40)
    assert painted(media) == [SQUARE] * 20
    for k, square in enumerate(SHOWN):
        colour = ((media[:, k, 12, 4 * square + 4] + 1) * 127.5).round().int().tolist()
        assert colour == [255, 40 * square, 0], k


@pytest.mark.parametrize("disposal", [0, 1])
def test_frames_that_stay_lie_below_later_ones(tmp_path: Path, disposal: int) -> None:
    media = Video(size=24, fps=20).read(save(tmp_path / "a.gif", disposal=disposal))
    assert painted(media) == [SQUARE + 4 * 16 * square for square in SHOWN]


def test_frames_of_no_duration_last_as_in_browsers(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gif", duration=0, disposal=2)
    assert Video().info(path).duration == pytest.approx(0.6)
    assert Video(size=24, fps=20).read(path).shape[1] == 12


def test_one_frame_is_a_short_video_and_every_animation_a_picture(tmp_path: Path) -> None:
    squares()[0].convert("RGB").save(tmp_path / "one.gif")
    assert Video(size=24, fps=20).read(tmp_path / "one.gif").shape[1] == 2
    media = Image(size=24).read(save(tmp_path / "a.gif", disposal=2))
    assert media.shape == (3, 24, 40)
    assert int((media[2] < 0).sum()) == SQUARE


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif", ".png"])
def test_a_picture_is_a_clip_of_one_upright_frame(tmp_path: Path, suffix: str) -> None:
    picture = PillowImage.new("RGB", (12, 8), "white")
    picture.paste("red", (0, 0, 12, 4))
    turned = suffix != ".bmp"  # which has no EXIF data
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: the red half is on the right
    path = tmp_path / f"a{suffix}"
    picture.save(path, **({"exif": exif} if turned else {}))
    video = Video()
    info = video.info(path)
    assert (info.width, info.height, info.frames) == ((8, 12, 1) if turned else (12, 8, 1))
    clip = video.native(path).read(path)
    assert clip.shape == ((3, 1, 12, 8) if turned else (3, 1, 8, 12))
    red = clip[1, 0, :, 6] if turned else clip[1, 0, 2]
    white = clip[1, 0, :, 1] if turned else clip[1, 0, 6]
    assert red.max() < -0.8 and white.min() > 0.8
