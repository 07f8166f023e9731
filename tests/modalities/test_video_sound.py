"""Native form of videos: size, rate and sound of a file stay in what is written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from multigen.errors import MediaError
from multigen.modalities.video import Video
from multigen.modalities.video_sound import Pieces, Playing

RATE = 48_000


def clip(path: Path, codec: str, frames: int = 30, fps: int = 30) -> None:
    """A clip of 48 x 32 pixels that grows brighter, with a tone of 440 Hz as long as it."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=fps, options={"crf": "4"})
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        audio = out.add_stream(codec, rate=RATE, layout="stereo")
        assert isinstance(audio, AudioStream)
        for k in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 8 * k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, fps)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE * frames // fps) / RATE)
        sound = AudioFrame.from_ndarray(
            np.stack([tone, tone]).astype(np.float32), format="fltp", layout="stereo"
        )
        sound.sample_rate, sound.pts = RATE, 0
        context = audio.codec_context
        pieces = av.AudioResampler(context.format, "stereo", RATE, frame_size=context.frame_size or 1024)
        for piece in [*pieces.resample(sound), *pieces.resample(None), None]:
            out.mux(audio.encode(piece))


def heard(path: Path) -> np.ndarray:
    """Mono samples at RATE from time 0 on."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        samples = np.zeros(4 * RATE, np.float32)
        to_mono = av.AudioResampler("fltp", "mono", RATE)
        for frame in file.decode(stream):
            start = round(float(frame.time or 0) * RATE)
            frame.pts = None
            for piece in to_mono.resample(frame):
                data = piece.to_ndarray()[0]
                begin = max(0, -start)
                samples[start + begin : start + len(data)] = data[begin : len(samples) - start]
                start += len(data)
    return samples


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le", "libopus"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_sound_stays_and_begins_later_where_frames_were_put_before(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    clip(tmp_path / "a.mkv", codec)
    native = Video(size=16).native(tmp_path / "a.mkv")
    assert (native.fps, native.shape()[-2:]) == (30.0, (32, 48))
    media = native.read(tmp_path / "a.mkv")
    assert media.shape == (3, 30, 32, 48)
    longer = torch.cat([media[:, :1].expand(-1, 15, -1, -1), media], 1)
    native.with_sound_later(0.5).write(longer, tmp_path / f"b{suffix}")
    samples = heard(tmp_path / f"b{suffix}")
    loud = np.sqrt(np.convolve(samples**2, np.ones(960) / 960, "same"))
    assert loud[: int(0.45 * RATE)].max() < 0.02
    inside = loud[int(0.55 * RATE) : int(1.4 * RATE)]
    assert inside.min() > 0.1
    assert loud[int(1.6 * RATE) :].max() < 0.02
    with av.open(str(tmp_path / f"b{suffix}")) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (48, 32)
        assert float(file.streams.video[0].average_rate or 0) == 30.0


def test_frames_at_another_rate_are_those_shown_then(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", "aac")
    model = Video(size=16, fps=8.0)
    native = model.native(tmp_path / "a.mp4")
    media = native.read(tmp_path / "a.mp4")
    seen = native.convert(media, model)
    assert torch.equal(seen, model.read(tmp_path / "a.mp4"))
    assert torch.equal(seen, media[:, [int(k * 30 / 8 + 1e-6) for k in range(8)]])
    back = model.convert(seen, native)
    assert torch.equal(back, seen[:, [int(k * 8 / 30 + 1e-6) for k in range(30)]])


def test_damaged_sound_ends_and_the_pictures_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip(tmp_path / "a.mkv", "aac")
    content = bytearray((tmp_path / "a.mkv").read_bytes())
    with av.open(str(tmp_path / "a.mkv")) as file:
        packets = [bytes(one) for one in file.demux(audio=0) if one.size]
    for one in packets[len(packets) // 2 :]:
        at = content.find(one)
        content[at : at + len(one)] = b"\xff" * len(one)
    (tmp_path / "b.mkv").write_bytes(content)
    native = Video(size=16).native(tmp_path / "b.mkv")
    native.write(native.read(tmp_path / "b.mkv"), tmp_path / "c.webm")
    assert "its sound is not whole" in caplog.text and "it ends at 0." in caplog.text
    assert Video(fps=30.0).read(tmp_path / "c.webm").shape[1] == 30
    loud = np.abs(heard(tmp_path / "c.webm"))
    assert loud[: RATE // 4].max() > 0.2 and loud[RATE:].max() < 0.02


def test_what_fails_in_a_sound_is_told_once_the_rest_is_there() -> None:
    def pieces() -> Pieces:
        yield 0.0
        yield 0.5
        raise MediaError("a.mkv: cannot be read")

    playing = Playing(pieces())
    playing.to(0.3)
    assert playing.error is None
    playing.to(2.0)
    playing.end()
    assert "it ends at 0.50 s" in str(playing.error)
