"""Sound of many channels, sample formats, and samples that are no sound."""

from __future__ import annotations

import io
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image as PillowImage

from multigen.errors import MediaError
from multigen.modalities.audio import Audio
from tests.modalities.files import encode

RATE = 22050
SINE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)


def one_of(channels: int, sounding: int, seconds: float = 0.5, rate: int = 48000) -> np.ndarray:
    """[channels, N]: a tone of level 0.4 in one of them."""
    wave = np.zeros((channels, round(rate * seconds)), np.float32)
    wave[sounding] = 0.4 * np.sin(2 * np.pi * 440 * np.arange(wave.shape[1]) / rate)
    return wave


FILES = {
    "a.flac": "flac",
    "a.m4a": "aac",
    "a.mkv": "flac",
    "a.wav": "pcm_s16le",
    "b.mka": "aac",
    "a.caf": "pcm_s24be",
}


@pytest.mark.parametrize(("name", "codec"), FILES.items())
def test_seven_point_one_is_read_with_its_sides(tmp_path: Path, name: str, codec: str) -> None:
    """FL FR FC LFE BL BR SL SR: of level 1 in front, 0.707 elsewhere, the LFE nowhere, scaled by their sum."""
    scale = 0.4 / (1 + 3 * 0.5**0.5)
    sides = {0: (1, 0), 1: (0, 1), 2: (0.707, 0.707), 3: (0, 0), 4: (0.707, 0), 5: (0, 0.707), 6: (0.707, 0)}
    for channel, levels in sides.items() if codec != "aac" else list(sides.items())[1::2]:
        encode(tmp_path / name, one_of(8, channel), codec, 48000, bits=0 if codec == "flac" else 512_000)
        assert Audio().info(tmp_path / name).channels == 8
        stereo = Audio(rate=48000, channels=2).read(tmp_path / name)[:, 6000:18000]
        np.testing.assert_allclose(stereo.abs().amax(1), np.array(levels) * scale, atol=0.01)
        mono = Audio(rate=RATE).read(tmp_path / name, start=0.1, duration=0.3)
        assert mono.shape == (1, round(0.3 * RATE))
        # An LFE of an AAC file carries low notes alone.
        if (codec, channel) != ("aac", 3):
            assert float(mono[:, 2000:].abs().max()) == pytest.approx(0.4 / 8, abs=0.004)


@pytest.mark.parametrize("channels", [7, 9, 12, 16, 24])
@pytest.mark.parametrize("name", ["a.wav", "a.mka"])
def test_any_number_of_channels_is_read(tmp_path: Path, channels: int, name: str) -> None:
    encode(tmp_path / name, one_of(channels, channels - 1), "pcm_s16le", 48000, bits=0)
    assert Audio().info(tmp_path / name).channels == channels
    mono = Audio(rate=48000).read(tmp_path / name)
    assert mono.shape == (1, 24000)
    assert float(mono.abs().max()) == pytest.approx(0.4 / channels, abs=0.001)
    assert Audio(rate=RATE, channels=2).read(tmp_path / name, start=0.1, duration=0.2).shape == (2, 4410)


def test_more_channels_than_sound_has_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 200), np.float32), 8000)
    with pytest.raises(MediaError, match=r"a\.wav: .*200 channels.*64"):
        Audio().read(tmp_path / "a.wav")


def test_rates_that_no_sound_has_are_refused_at_once(tmp_path: Path) -> None:
    """One damaged bit makes 536 MHz of 16 kHz; resampling that takes minutes."""
    head = struct.pack(">4s5I", b".snd", 24, 2000, 3, 536_886_912, 1)
    (tmp_path / "a.au").write_bytes(head + bytes(2000))
    for look in (Audio().info, Audio().read):
        with pytest.raises(MediaError, match=r"a\.au: 536,886,912 Hz; allowed are up to 1,536,000 Hz"):
            look(tmp_path / "a.au")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".m4a"])
@pytest.mark.parametrize("channels", [3, 6, 7, 8])
def test_as_many_channels_as_may_be_written_come_back(tmp_path: Path, suffix: str, channels: int) -> None:
    audio, path = Audio(rate=48000, channels=channels), tmp_path / f"a{suffix}"
    for channel in range(channels):
        audio.write(torch.from_numpy(one_of(channels, channel)), path)
        back = audio.read(path)
        assert back.shape[0] == channels
        if channel != 3 or suffix != ".m4a":  # the LFE
            assert int(back.square().mean(1).argmax()) == channel


# What `soundfile` calls the subtype -> how far the peak may lie from 0.5.
SUBTYPES = {
    "u8.wav": ("PCM_U8", 0.005), "s16.wav": ("PCM_16", 1e-4), "s24.wav": ("PCM_24", 1e-5), "s32.wav": ("PCM_32", 1e-6),
    "f32.wav": ("FLOAT", 1e-6), "f64.wav": ("DOUBLE", 1e-6), "ulaw.wav": ("ULAW", 0.02),
    "adpcm.wav": ("IMA_ADPCM", 0.02),
    "s24.flac": ("PCM_24", 1e-5), "s8.aiff": ("PCM_S8", 0.005), "x.w64": ("PCM_16", 1e-4), "s24.caf": ("PCM_24", 1e-5),
    "f.au": ("FLOAT", 1e-6), "rf64.wav": ("PCM_16", 1e-4),
}  # fmt: skip


@pytest.mark.parametrize("name", SUBTYPES)
def test_levels_of_every_sample_format(tmp_path: Path, name: str) -> None:
    subtype, off = SUBTYPES[name]
    kind = "RF64" if name.startswith("rf64") else None
    soundfile.write(tmp_path / name, SINE, RATE, subtype=subtype, format=kind)
    for channels in (1, 2):
        media = Audio(rate=RATE, channels=channels).read(tmp_path / name)
        assert media.shape[0] == channels
        assert media.shape[1] == pytest.approx(2 * RATE, abs=700 if "adpcm" in name else 0)
        np.testing.assert_allclose(media.abs().amax(1), 0.5, atol=off)
        onset = 20 if "adpcm" in name else 0  # its step adapts
        np.testing.assert_allclose(media[0, onset : 2 * RATE], SINE[onset:], atol=max(2 * off, 1e-5))


def test_hot_floats_offsets_and_silence_stay_as_they_are(tmp_path: Path) -> None:
    for wave in (SINE * 5, SINE * 0.5 + 0.4, SINE * 0):
        soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
        np.testing.assert_array_equal(Audio(rate=RATE).read(tmp_path / "a.wav")[0], wave)


def test_wavs_of_recorders_that_streamed_crashed_or_tagged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "s.wav", SINE, RATE)
    whole = (tmp_path / "s.wav").read_bytes()
    data = whole.find(b"data")
    reader = Audio(rate=RATE)
    for size in (0xFFFFFFFF, 0):
        raw = bytearray(whole)
        raw[4:8] = raw[data + 4 : data + 8] = struct.pack("<I", size)
        (tmp_path / "a.wav").write_bytes(raw)
        assert reader.read(tmp_path / "a.wav").shape == (1, 2 * RATE)
    tag = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"  # of odd length, so it is padded
    (tmp_path / "a.wav").write_bytes(whole[:data] + tag + whole[data:])
    assert reader.read(tmp_path / "a.wav").shape == (1, 2 * RATE)
    (tmp_path / "a.mp3").write_bytes(whole)  # a WAV with a wrong suffix
    assert reader.read(tmp_path / "a.mp3").shape == (1, 2 * RATE)
    for raw, why in (
        (whole[: len(whole) // 2], "truncated"),
        (whole[: data + 8], "truncated"),
        (b"", "empty"),
    ):
        (tmp_path / "a.wav").write_bytes(raw)
        with pytest.raises(MediaError, match=rf"a\.wav: .*{why}"):
            reader.read(tmp_path / "a.wav")


def test_a_cover_picture_does_not_get_into_the_sound(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp3", SINE[None], "libmp3lame", RATE)
    plain = (tmp_path / "a.mp3").read_bytes()
    if plain[:3] == b"ID3":
        plain = plain[10 + sum((plain[6 + k] & 127) << (7 * (3 - k)) for k in range(4)) :]
    jpeg = io.BytesIO()
    PillowImage.new("RGB", (64, 64), (200, 0, 0)).save(jpeg, "JPEG")
    body = b"\0image/jpeg\0\x03\0" + jpeg.getvalue()
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    size = bytes((len(frame) >> (7 * k)) & 127 for k in (3, 2, 1, 0))
    (tmp_path / "b.mp3").write_bytes(b"ID3\x03\0\0" + size + frame + plain)
    media = Audio(rate=RATE).read(tmp_path / "b.mp3")
    assert media.shape == (1, 2 * RATE)
    assert float(media.abs().max()) == pytest.approx(0.48, abs=0.03)  # LAME lowers the level a little


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_are_refused_where_they_are(tmp_path: Path, value: float) -> None:
    wave = np.tile(SINE, 3)
    wave[100_000:100_100] = value  # 4.535 s
    soundfile.write(tmp_path / "bad.wav", wave, RATE, subtype="FLOAT")
    for rate in (RATE, 16000):
        reader = Audio(rate=rate)
        with pytest.raises(MediaError, match=r"bad\.wav: samples are not finite .* at 4\.53"):
            reader.read(tmp_path / "bad.wav")
        with pytest.raises(MediaError, match="at 4.53"):
            reader.read(tmp_path / "bad.wav", start=4.0, duration=1.0)
        assert torch.isfinite(reader.read(tmp_path / "bad.wav", start=0.0, duration=1.0)).all()


def test_numbers_that_are_no_sound_are_refused(tmp_path: Path) -> None:
    for peak, written in ((1e29, "1e+29"), (32768.0, "1.64e+04")):
        wave = SINE * peak
        soundfile.write(tmp_path / "huge.wav", wave, RATE, subtype="FLOAT")
        given = re.escape(f"{0.5 * peak:.3g}" if peak > 1e6 else written)
        with pytest.raises(MediaError, match=rf"huge\.wav: samples reach {given}, full scale is 1"):
            Audio(rate=RATE).read(tmp_path / "huge.wav")
