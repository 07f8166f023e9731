"""Video: frame rates by timestamps, real containers, odd sizes, faults and limits."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.errors import MediaError
from multigen.modalities.video import Video


def ramp(frames: int = 16, height: int = 32, width: int = 48) -> Tensor:
    """Smooth colours that drift: [3, T, H, W]."""
    t, y, x = torch.meshgrid(
        torch.arange(frames) / 16, torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij"
    )
    return torch.stack([torch.sin(3 * x + 2 * t), torch.cos(2 * y - t), torch.sin(x + y + t)]) * 0.8


def psnr(a: Tensor, b: Tensor) -> float:
    return 10 * math.log10(4 / float((a - b).square().mean().clamp_min(1e-12)))


def grey(k: int) -> int:
    return 40 + 10 * (k % 18)


def numbers(media: Tensor) -> list[int]:
    """Which frame of `record` each frame is, from its grey level."""
    return [round((float(v) - 40) / 10) for v in (media.mean((0, 2, 3)) + 1) * 127.5]


def record(
    path: Path, times: Sequence[float], rate: Fraction = Fraction(30), *, codec: str = "libx264", gop: int = 12,
    rotation: int = 0, size: tuple[int, int] = (32, 32),
) -> None:  # fmt: skip
    """Frame k, of grey level `grey(k)`, is shown from times[k] (s; 1 ms ticks)."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), grey(k), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_written_files_come_back(tmp_path: Path, suffix: str) -> None:
    media, path = ramp(), tmp_path / f"a{suffix}"
    Video(fps=8).write(media, path)
    info = Video().info(path)
    assert (info.width, info.height, info.frames, info.fps) == (48, 32, 16, 8)
    assert info.duration == pytest.approx(2.0, abs=0.002)
    back = Video(fps=8).read(path)
    assert back.shape == media.shape
    assert psnr(back, media) > 36
    assert float((back - media).mean((1, 2, 3)).abs().max()) < 0.02  # no shift of any colour's level


def test_every_frame_has_its_place_and_time(tmp_path: Path) -> None:
    Video(fps=8).write(ramp(), tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert [frame.time for frame in file.decode(stream)] == [k / 8 for k in range(16)]


@pytest.mark.parametrize("fps", [8.0, 29.97, 12.5])
def test_rates(tmp_path: Path, fps: float) -> None:
    Video(fps=fps).write(ramp(20), tmp_path / "a.mp4")
    assert Video().info(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-4)
    assert psnr(Video(fps=fps).read(tmp_path / "a.mp4"), ramp(20)) > 36


@pytest.mark.parametrize("size", [(31, 33), (7, 9), (32, 33), (1, 1)])
def test_odd_sizes_come_back(tmp_path: Path, size: tuple[int, int]) -> None:
    media = ramp(4, *size)
    Video().write(media, tmp_path / "a.mp4")
    back = Video().read(tmp_path / "a.mp4")
    assert back.shape == media.shape
    assert psnr(back, media) > 25
    assert (Video().info(tmp_path / "a.mp4").width, Video().info(tmp_path / "a.mp4").height) == size[::-1]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif", ".webp", ".png"])
def test_one_frame(tmp_path: Path, suffix: str) -> None:
    media = ramp(1)
    Video().write(media, tmp_path / f"a{suffix}")
    back = Video().read(tmp_path / f"a{suffix}")
    assert back.shape == media.shape
    assert psnr(back, media) > 28


@pytest.mark.parametrize(("suffix", "close"), [(".webp", 45.0), (".png", 45.0), (".gif", 25.0)])
def test_animations(tmp_path: Path, suffix: str, close: float) -> None:
    media, path = ramp(13), tmp_path / f"a{suffix}"
    Video(fps=8).write(media, path)
    back = Video(fps=8).read(path)
    assert back.shape == media.shape
    assert psnr(back, media) > close
    assert Video().info(path).duration == pytest.approx(13 / 8, abs=0.006)
    with PillowImage.open(path) as picture:
        assert picture.info.get("loop", 0) == 0  # for ever


def test_grey_media_and_grey_reading(tmp_path: Path) -> None:
    Video(channels=1).write(ramp()[:1], tmp_path / "a.mp4")
    assert psnr(Video(channels=1).read(tmp_path / "a.mp4"), ramp()[:1]) > 36


def test_faster_material_shows_the_frame_of_each_moment(tmp_path: Path) -> None:
    record(tmp_path / "a.mp4", [k / 30 for k in range(18)])
    media = Video(fps=8).read(tmp_path / "a.mp4")
    assert numbers(media) == [math.floor(k * 30 / 8) for k in range(5)]  # 0.6 s are 4.8 frames


def test_slower_material_repeats_frames(tmp_path: Path) -> None:
    record(tmp_path / "a.mp4", [0, 0.5, 1.0], Fraction(2))
    assert numbers(Video(fps=8).read(tmp_path / "a.mp4")) == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate(tmp_path: Path, suffix: str) -> None:
    times = [0.0, 0.03, 0.07, 0.4, 0.41, 0.9, 1.3, 1.32, 1.9]
    record(tmp_path / f"a{suffix}", times)
    media = Video(fps=10).read(tmp_path / f"a{suffix}")
    expected = [max(i for i, t in enumerate(times) if t <= k / 10 + 1e-9) for k in range(19)]
    assert numbers(media)[:19] == expected
    assert media.shape[1] in (19, 20)  # the file does not say how long its last frame is


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_at_its_own_rate_a_clip_of_variable_rate_loses_no_frame(tmp_path: Path, suffix: str) -> None:
    """Eight frames a second, then two: 16 frames in 5 s, 3.2 a second."""
    times = [k / 8 for k in range(8)] + [1 + k / 2 for k in range(8)]
    record(tmp_path / f"a{suffix}", times)
    own = Video().native(tmp_path / f"a{suffix}")
    assert own.fps == pytest.approx(8, rel=0.02)
    assert sorted(set(numbers(own.read(tmp_path / f"a{suffix}")))) == list(range(16))
    record(tmp_path / f"b{suffix}", [k / 30 for k in range(18)], Fraction(30))
    assert Video().native(tmp_path / f"b{suffix}").fps == pytest.approx(30, rel=1e-3)


def test_an_animation_that_rests_at_its_end_keeps_every_frame(tmp_path: Path) -> None:
    frames = [PillowImage.new("L", (16, 16), 12 * k) for k in range(18)]
    shown = [80] * 17 + [2000]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=shown, loop=0)
    own = Video().native(tmp_path / "a.gif")
    assert own.fps == pytest.approx(12.5)
    assert len(set(own.read(tmp_path / "a.gif")[0, :, 8, 8].tolist())) == 18
    Video(fps=60).write(ramp(), tmp_path / "b.gif")  # hundredths of a second: 1 and 2 in turn
    assert Video().native(tmp_path / "b.gif").fps == pytest.approx(Video().info(tmp_path / "b.gif").fps)


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_millisecond_ticks_skip_no_frame(tmp_path: Path, fps: int) -> None:
    record(tmp_path / "a.mkv", [k / fps for k in range(18)], Fraction(fps))
    assert numbers(Video(fps=fps).read(tmp_path / "a.mkv")) == list(range(18))


def test_a_late_first_frame_counts_from_itself(tmp_path: Path) -> None:
    record(tmp_path / "a.mkv", [0.7 + k / 10 for k in range(6)], Fraction(10))
    assert numbers(Video(fps=10).read(tmp_path / "a.mkv")) == list(range(6))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mpg", ".ts"])
def test_spans(tmp_path: Path, suffix: str) -> None:
    codec = {".avi": "mpeg4", ".mpg": "mpeg1video"}.get(suffix, "libx264")
    path = tmp_path / f"a{suffix}"
    if codec == "libx264":
        record(path, [k / 25 for k in range(18)], Fraction(25), gop=5)
    else:
        _record_plain(path, codec)
    video = Video(fps=25)
    assert numbers(video.read(path))[:17] == list(range(17))
    for start in (0.0, 0.2, 0.28, 0.44):
        first = round(start * 25)
        span = video.read(path, start=start, duration=0.2)
        assert numbers(span) == list(range(first, first + 5))
    assert video.read(path, start=0.6, duration=5.0).shape[1] <= 3  # as much as there is
    with pytest.raises(MediaError, match=r"no frame at 9 s"):
        video.read(path, start=9.0, duration=1.0)


def _record_plain(path: Path, codec: str) -> None:
    """18 frames at 25 frames/s in the encoder's own time base."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for k in range(18):
            out.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), grey(k), np.uint8), "rgb24"))
            )
        out.mux(stream.encode(None))


def test_rotation_is_applied(tmp_path: Path) -> None:
    """A display rotation r means: turn by r degrees counter-clockwise to show (av_display_rotation_get)."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16] = 255
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 48, "yuv420p"
        stream.set_display_rotation(90)
        stored = np.ascontiguousarray(np.rot90(upright, -1))
        out.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        out.mux(stream.encode(None))
    media = Video().read(tmp_path / "a.mp4")
    assert media.shape == (3, 1, 32, 48)
    assert media[:, :, :14].mean() > 0.9
    assert media[:, :, 18:].mean() < -0.9


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif", ".webp"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    noise = torch.rand(3, 24, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    Video().write(noise, path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"garbage" * 50):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=f"bad{suffix}"):
            Video().read(path)
    path.unlink()
    with pytest.raises(MediaError, match="no such file"):
        Video().read(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no video"):
        Video().read(tmp_path / "a.mkv")


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("max_pixels", 1000),
        ("max_frames", 15),
        ("max_seconds", 1.5),
        ("max_bytes", 99),
        ("max_clip_pixels", 20_000),
    ],
)
def test_limits(tmp_path: Path, suffix: str, limit: str, value: float) -> None:
    Video().write(ramp(), tmp_path / f"a{suffix}")
    with pytest.raises(MediaError, match=rf"a{suffix}: .*the limit {limit}"):
        Video(**{limit: value}).read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animations_pixels_are_counted_before_any_is_decoded(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Video().write(ramp(), tmp_path / f"a{suffix}")
    with PillowImage.open(tmp_path / f"a{suffix}") as picture:
        kind = type(picture)

    def load(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(kind, "load", load)
    limited = Video(max_clip_pixels=16 * 32 * 48 - 1)
    for act in (limited.info, limited.read):
        with pytest.raises(MediaError, match=r"16 frames of 1,536 pixels; the limit max_clip_pixels"):
            act(tmp_path / f"a{suffix}")
    with pytest.raises(AssertionError, match="decoded"):  # at the limit, it is
        Video(max_clip_pixels=16 * 32 * 48).info(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(("side", "limit"), [(9_000, "max_pixels"), (7_000, "max_clip_pixels")])
def test_frames_that_outgrow_the_header_are_refused(tmp_path: Path, side: int, limit: str) -> None:
    """A GIF whose header says 1 x 1, as does its first frame; the others are huge."""

    def frame(side: int) -> bytes:
        return b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x44\x01\x00"

    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    (tmp_path / "a.gif").write_bytes(head + frame(1) + frame(side) * 3 + b";")
    with pytest.raises(MediaError, match=limit):
        Video(max_clip_pixels=side * side - 1).info(tmp_path / "a.gif")


def test_clipping_warns_and_bad_targets_are_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"values from -1\.6 to .* are clipped"):
        Video().write(ramp() * 2, tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=r"Did you mean '\.mp4'"):
        Video().write(ramp(), tmp_path / "a.mp3")


def test_shape() -> None:
    assert Video().shape() == (3, 16, 32, 32)
    assert Video(fps=8).shape((20, 30), 1.5) == (3, 12, 20, 30)
    assert Video(fps=8).shape(None, 0.01)[1] == 1
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="more than 0 s"):
            Video().shape(None, bad)


def test_fit_chooses_frames() -> None:
    media = torch.arange(20.0).div(20)[None, :, None, None].expand(3, 20, 8, 8).contiguous()
    video = Video()
    assert torch.equal(video.fit(media, (3, 4, 8, 8)), media[:, :4])
    starts = {
        float(video.fit(media, (3, 4, 8, 8), torch.Generator().manual_seed(s))[0, 0, 0, 0]) for s in range(20)
    }
    assert len(starts) > 8
    longer = video.fit(media, (1, 23, 8, 8))
    assert longer.shape == (1, 23, 8, 8)
    assert torch.allclose(longer[0, 19:, 0, 0], torch.full((4,), 0.95))


def test_fit_crops_every_frame_alike() -> None:
    media = (
        torch.rand(3, 1, 16, 40, generator=torch.Generator().manual_seed(0)).expand(3, 6, 16, 40).contiguous()
    )
    fitted = Video().fit(media, (3, 6, 16, 16), torch.Generator().manual_seed(3))
    assert torch.equal(fitted, fitted[:, :1].expand_as(fitted))


def test_preview_is_a_contact_sheet() -> None:
    sheet = Video().preview([ramp(16, 32, 32), ramp(40, 32, 32)])
    assert sheet.size == (16 * 100 + 4, 2 * 100 + 4)
    first, last = (np.asarray(sheet)[4:100, 4 + 100 * c : 100 + 100 * c].mean((0, 1)) for c in (0, 15))
    expected = [(ramp(16, 32, 32)[:, k].mean((1, 2)) + 1) * 127.5 for k in (0, 15)]
    assert np.abs(first - expected[0].numpy()).max() < 1.5
    assert np.abs(last - expected[1].numpy()).max() < 1.5


def test_html_plays(tmp_path: Path) -> None:
    html = Video().html(ramp())
    assert all(word in html for word in ("<video", "controls", "loop", "autoplay", "muted", "pixelated"))
    (tmp_path / "a.mp4").write_bytes(base64.b64decode(html.split("base64,")[1].split('"')[0]))
    assert psnr(Video().read(tmp_path / "a.mp4"), ramp()) > 36


def test_the_same_media_make_the_same_bytes(tmp_path: Path) -> None:
    """Several times: an encoder that reads memory which it never set differs only now and then."""
    generator = torch.Generator().manual_seed(0)
    for suffix, times in ((".mp4", 12), (".webp", 2), (".gif", 2)):
        contents = set()
        for _ in range(times):
            torch.rand(int(torch.randint(10, 50_000, (), generator=generator))).mul_(3)  # stirs the heap
            Video().write(ramp(16, 32, 32), tmp_path / f"a{suffix}")
            contents.add((tmp_path / f"a{suffix}").read_bytes())
        assert len(contents) == 1, suffix
