"""Audio files written and read back; levels, lengths, spans; bad files; pictures."""

from __future__ import annotations

import base64
import errno
import io
import logging
import math
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from multigen.errors import MediaError
from multigen.modalities.audio import Audio


def tone(rate: int, seconds: float, *frequencies: float, level: float = 0.5) -> torch.Tensor:
    """[len(frequencies), N], each channel a sine whose loudness wavers, so that a shift in time shows."""
    t = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    waver = 0.3 + 0.7 * torch.sin(2 * math.pi * 0.7 * t) ** 2
    return torch.stack([level * waver * torch.sin(2 * math.pi * f * t) for f in frequencies]).float()


@pytest.mark.parametrize("rate", [8000, 22050, 96000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_lossless_round_trip(tmp_path: Path, rate: int, channels: int, suffix: str) -> None:
    audio = Audio(rate=rate, channels=channels)
    media = tone(rate, 1.234, 440.0, 660.0)[:channels]
    audio.write(media, tmp_path / f"a{suffix}")
    info, back = audio.info(tmp_path / f"a{suffix}"), audio.read(tmp_path / f"a{suffix}")
    assert (info.rate, info.channels) == (rate, channels)
    assert info.duration == pytest.approx(1.234, abs=1 / rate)
    assert back.shape == media.shape
    assert (back - media).abs().max() < 1.01 / 32767


@pytest.mark.parametrize(("suffix", "error"), [(".mp3", 0.06), (".ogg", 0.03), (".m4a", 0.06)])
def test_lossy_round_trip(tmp_path: Path, suffix: str, error: float) -> None:
    audio, media = Audio(rate=44100, channels=2), tone(44100, 2.345, 440.0, 660.0)
    audio.write(media, tmp_path / f"a{suffix}")
    info, back = audio.info(tmp_path / f"a{suffix}"), audio.read(tmp_path / f"a{suffix}")
    assert (info.rate, info.channels) == (44100, 2)
    assert abs(back.shape[1] - media.shape[1]) <= 1
    # After the encoder's start: a shift of ten samples would show as 0.3.
    n = back.shape[1] - 4096
    assert (back - media[:, : back.shape[1]])[:, 4096:n].abs().max() < error
    # LAME itself lowers the level by 0.26 dB at this bit rate.
    assert back.std() / media.std() == pytest.approx(0.97 if suffix == ".mp3" else 1, abs=0.01)


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_reading_resamples_and_mixes(tmp_path: Path, rate: int, channels: int) -> None:
    source = tone(rate, 1.0, 440.0, 660.0)[:channels]
    Audio(rate=rate, channels=channels).write(source, tmp_path / "a.wav")
    mono = Audio(rate=22050).read(tmp_path / "a.wav")
    truth = tone(22050, 1.0, 440.0, 660.0)[:channels].mean(0, keepdim=True)
    assert mono.shape == truth.shape
    assert (mono - truth)[:, 200:-200].abs().max() < 2e-3
    stereo = Audio(rate=22050, channels=2).read(tmp_path / "a.wav")
    if channels == 1:
        torch.testing.assert_close(stereo, mono.expand(2, -1))
    else:
        assert (stereo - tone(22050, 1.0, 440.0, 660.0))[:, 200:-200].abs().max() < 2e-3


def test_surround_to_stereo_keeps_sides_apart(tmp_path: Path) -> None:
    """5.1 with the tone in one channel: front left and back left go left, the centre to both, the LFE nowhere."""
    beep = tone(8000, 0.2, 500.0)[0].numpy()
    for channel, sides in {0: (1, 0), 1: (0, 1), 2: (1, 1), 3: (0, 0), 4: (1, 0), 5: (0, 1)}.items():
        six = np.zeros((beep.size, 6), dtype=np.float32)
        six[:, channel] = beep
        soundfile.write(tmp_path / "s.wav", six, 8000)
        heard = Audio(rate=8000, channels=2).read(tmp_path / "s.wav").abs().amax(1) > 0.01
        assert tuple(heard.int().tolist()) == sides


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".m4a"])
def test_a_span_is_the_same_part_of_the_whole(tmp_path: Path, suffix: str) -> None:
    writer, reader = Audio(rate=44100), Audio(rate=22050)
    writer.write(tone(44100, 16.0, 440.0), tmp_path / f"a{suffix}")
    whole = reader.read(tmp_path / f"a{suffix}")
    for start in (0.0, 0.3, 7.77, 15.0):
        span = reader.read(tmp_path / f"a{suffix}", start=start, duration=0.5)
        assert span.shape == (1, 11025)
        first = round(start * 22050)
        assert (span - whole[:, first : first + 11025]).abs().max() < 5e-3
    assert reader.read(tmp_path / f"a{suffix}", start=15.5, duration=9.0).shape[1] == pytest.approx(
        11025, abs=1
    )


def test_ten_milliseconds(tmp_path: Path) -> None:
    audio, media = Audio(rate=22050), tone(22050, 0.01, 1000.0)
    for suffix in (".wav", ".flac", ".mp3", ".m4a"):
        audio.write(media, tmp_path / f"a{suffix}")
        assert audio.read(tmp_path / f"a{suffix}").shape[1] in (220, 221)  # 220.5
    assert audio.preview([media]).width > 100


def test_loud_media_are_lowered_whole_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio, media = Audio(), tone(22050, 1.0, 440.0, level=2.0)
    with caplog.at_level(logging.WARNING):
        audio.write(media, tmp_path / "loud.wav")
    assert "6.0 dB" in caplog.text
    assert "loud.wav" in caplog.text
    torch.testing.assert_close(
        audio.read(tmp_path / "loud.wav"), media / media.abs().max(), atol=1e-4, rtol=0
    )
    caplog.clear()
    audio.write(media / 2, tmp_path / "fine.wav")
    assert caplog.text == ""


def test_bad_files(tmp_path: Path) -> None:
    audio = Audio(rate=8000)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "garbage.mp3").write_bytes(
        bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8))
    )
    (tmp_path / "text.wav").write_text("no sound here\n" * 100)
    for suffix in (".wav", ".flac", ".mp3", ".m4a"):
        audio.write(tone(8000, 4.0, 300.0), tmp_path / f"whole{suffix}")
        data = (tmp_path / f"whole{suffix}").read_bytes()
        (tmp_path / f"truncated{suffix}").write_bytes(data[: len(data) // 2])
    names = ["missing.wav", "empty.wav", "garbage.mp3", "text.wav"]
    names += [f"truncated{s}" for s in (".wav", ".flac", ".mp3", ".m4a")]
    for name in names:
        with pytest.raises(MediaError, match=re.escape(name)):
            audio.read(tmp_path / name)
    with pytest.raises(MediaError, match="ends at 4"):
        audio.read(tmp_path / "whole.wav", start=5.0)


def test_limits_hold_before_decoding(tmp_path: Path) -> None:
    Audio(rate=8000).write(tone(8000, 3.0, 300.0), tmp_path / "a.wav")
    for audio, limit in (
        (Audio(max_seconds=2, seconds=1), "max_seconds"),
        (Audio(max_bytes=1000), "max_bytes"),
    ):
        for look in (audio.info, audio.read):
            with pytest.raises(MediaError, match=limit):
                look(tmp_path / "a.wav")
    # 8,000 bytes at 1 Hz: over an hour, which would unfold to 88 million samples.
    data = bytes(8000)
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        1,
        2,
        2,
        16,
        b"data",
        len(data),
    )
    (tmp_path / "bomb.wav").write_bytes(head + data)
    with pytest.raises(MediaError, match="max_seconds"):
        Audio(max_seconds=3600).read(tmp_path / "bomb.wav")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    audio = Audio()
    with pytest.raises(MediaError, match=r"'\.mkv' is not allowed.*\.wav"):
        audio.write(tone(22050, 0.1, 440.0), tmp_path / "a.mkv")
    with pytest.raises(ValueError, match="not finite"):
        audio.write(torch.full((1, 100), math.nan), tmp_path / "a.wav")
    with pytest.raises(ValueError, match="at least one sample"):
        audio.write(torch.zeros(1, 0), tmp_path / "a.wav")
    with pytest.raises(MediaError, match="96000 Hz"):
        Audio(rate=96000).write(tone(96000, 0.1, 440.0), tmp_path / "a.mp3")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
@pytest.mark.parametrize("suffix", Audio.writes)
def test_a_full_disk_is_an_oserror_that_names_the_file(tmp_path: Path, suffix: str) -> None:
    """A limit on the size of files stands in for the disk. What was there stays, and nothing half-written."""
    import resource

    audio, path = Audio(rate=44100), tmp_path / f"a{suffix}"
    audio.write(tone(44100, 0.1, 440.0), path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match=re.escape(str(path))) as caught:
            audio.write(tone(44100, 2.0, 440.0), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == before


def test_shape_and_arguments() -> None:
    audio = Audio(rate=1000, channels=2, seconds=2.5)
    assert audio.shape() == (2, 2500)
    assert audio.shape(duration=0.5) == (2, 500)
    with pytest.raises(ValueError, match="no size"):
        audio.shape(size=28)
    wrongs: list[dict[str, Any]] = [{"rate": 10}, {"channels": 0}, {"seconds": 0.0}, {"seconds": 1e9}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="not allowed"):
            Audio(**wrong)
    with pytest.raises(ValueError, match="not allowed"):
        audio.shape(duration=-1.0)


def test_fit_crops_pads_and_mixes() -> None:
    audio, media = Audio(), torch.arange(10.0)[None]
    assert audio.fit(media, (1, 4)).tolist() == [[0, 1, 2, 3]]
    assert audio.fit(media, (1, 12)).tolist() == [[*range(10), 0, 0]]
    starts = {int(audio.fit(media, (1, 4), torch.Generator().manual_seed(k))[0, 0]) for k in range(60)}
    assert starts == set(range(7))
    two = torch.stack([torch.ones(3), torch.zeros(3)])
    assert audio.fit(two, (1, 3)).tolist() == [[0.5] * 3]
    assert audio.fit(torch.ones(1, 3), (2, 3)).tolist() == [[1.0] * 3] * 2


def test_html_holds_the_sound() -> None:
    media = tone(22050, 0.3, 440.0)
    text = Audio().html(media)
    data = re.search(r'<audio controls[^>]* src="data:audio/flac;base64,([^"]+)"></audio>', text)
    assert data is not None
    back, rate = soundfile.read(io.BytesIO(base64.b64decode(data[1])), dtype="float32")
    assert rate == 22050
    np.testing.assert_allclose(back, media[0].numpy(), atol=1.01 / 32767)


def test_picture_shows_pitch_and_time() -> None:
    """A low tone and then a high one: the bright row is near the foot at the left, higher up at the right."""
    low, high = tone(22050, 1.0, 110.0), tone(22050, 1.0, 3520.0)
    image = Audio().preview([torch.cat([low, high], 1), low])
    grey = np.asarray(image.convert("L")).astype(int)
    rows = grey[:176]
    left, right = (int(rows[:, c - 60 : c + 60].mean(1).argmax()) for c in (240, 720))
    octaves = (left - right) / 175 * math.log2(10_000 / 50)
    assert octaves == pytest.approx(5, abs=0.15)
    assert grey[184:, 600:].max() < 20  # the second sound ended half-way: silence is dark
