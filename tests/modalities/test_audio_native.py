"""Native form of sounds: rate, channels and depth of a file come back to the bit; opposite channels do not cancel."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from multigen.modalities.audio import Audio
from multigen.modalities.audio_channels import to_mono
from multigen.modalities.audio_native import resampled


@pytest.mark.parametrize("depth", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_samples_of_every_depth_come_back_to_the_bit(tmp_path: Path, depth: str) -> None:
    samples = np.clip(0.4 * np.random.default_rng(0).standard_normal((3001, 2)), -1, 1)
    samples[:2] = [[1, -1], [0, 1 / 2**30]]
    soundfile.write(tmp_path / "a.wav", samples, 48_000, subtype=depth)
    native = Audio(rate=22_050).native(tmp_path / "a.wav")
    assert (native.rate, native.channels) == (48_000, 2)
    native.write(native.read(tmp_path / "a.wav"), tmp_path / "b.wav")
    before, after = (soundfile.read(tmp_path / name, dtype="float64")[0] for name in ("a.wav", "b.wav"))
    assert np.array_equal(before, after)
    assert soundfile.info(tmp_path / "b.wav").subtype == depth


def test_floats_beyond_full_scale_stay(tmp_path: Path) -> None:
    samples = np.array([[0.5], [1.7], [-1.2]], np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 22_050, subtype="FLOAT")
    native = Audio(rate=22_050).native(tmp_path / "a.wav")
    native.write(native.read(tmp_path / "a.wav"), tmp_path / "b.wav")
    assert np.array_equal(soundfile.read(tmp_path / "b.wav", dtype="float32")[0], samples[:, 0])


def test_24_bits_of_a_flac_stay_in_a_flac(tmp_path: Path) -> None:
    samples = np.round(np.linspace(-1, 0.99, 5000) * 2**23) / 2**23
    soundfile.write(tmp_path / "a.flac", samples, 44_100, subtype="PCM_24")
    native = Audio().native(tmp_path / "a.flac")
    native.write(native.read(tmp_path / "a.flac"), tmp_path / "b.flac")
    assert np.array_equal(soundfile.read(tmp_path / "b.flac")[0], samples)


def test_a_file_converted_is_what_the_model_reads(tmp_path: Path) -> None:
    t = np.arange(48_000) / 48_000
    samples = np.stack([0.5 * np.sin(2 * np.pi * 440 * t), 0.25 * np.sin(2 * np.pi * 660 * t)], 1)
    soundfile.write(tmp_path / "a.wav", samples, 48_000, subtype="FLOAT")
    model = Audio(rate=22_050)
    native = model.native(tmp_path / "a.wav")
    seen = native.convert(native.read(tmp_path / "a.wav"), model)
    # Channels are mixed before the resampling here and after it there: a few roundings of 6e-8 apart.
    torch.testing.assert_close(seen, model.read(tmp_path / "a.wav"), rtol=0, atol=1e-5)
    back = model.convert(seen, native)
    assert back.shape == (2, 48_000)
    mean = torch.from_numpy(samples.mean(1)).float()
    assert (back - mean)[:, 500:-500].abs().max() < 1e-3


def test_resampling_keeps_the_length_and_the_tone() -> None:
    t = np.arange(70_001) / 44_100
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)[None]
    there = resampled(tone, 44_100, 22_050)
    assert there.shape == (1, round(70_001 / 2))
    wanted = np.sin(2 * np.pi * 1000 * np.arange(there.shape[1]) / 22_050)
    assert np.abs(there[0] - wanted)[200:-200].max() < 2e-3


def opposite(tmp_path: Path, right: float) -> tuple[torch.Tensor, list[str]]:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, right * tone], 1), 22_050, subtype="FLOAT")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read = Audio(rate=22_050).read(tmp_path / "a.wav")
    return read, [str(one.message) for one in said]


@pytest.mark.parametrize(
    ("right", "peak", "side"), [(-1.0, 0.5, "left"), (-1.2, 0.6, "right"), (-0.8, 0.5, "left")]
)
def test_of_opposite_channels_the_louder_is_taken_and_said(
    tmp_path: Path, right: float, peak: float, side: str
) -> None:
    read, said = opposite(tmp_path, right)
    assert float(read.abs().max()) == pytest.approx(peak, rel=1e-3)
    assert len(said) == 1
    assert "a.wav: its two channels cancel each other" in said[0]
    assert f"the {side} one" in said[0]


@pytest.mark.parametrize("right", [1.0, 0.0, -0.5])
def test_other_channels_are_averaged(tmp_path: Path, right: float) -> None:
    read, said = opposite(tmp_path, right)
    assert float(read.abs().max()) == pytest.approx(0.25 * (1 + right), rel=1e-3)
    assert said == []


@pytest.mark.parametrize("channels", [2, 4, 6, 24])
def test_channels_that_oppose_each_other_are_told_from_those_that_do_not(channels: int) -> None:
    generator = np.random.default_rng(0)
    unlike = generator.standard_normal((channels, 8000)).astype(np.float32)
    assert to_mono(unlike)[1] is None
    opposed = np.tile(unlike[:1], (channels, 1)) * np.resize([1.0, -0.99], (channels, 1)).astype(np.float32)
    mixed, taken = to_mono(opposed)
    assert taken == 0 and np.array_equal(mixed, unlike[:1])


def test_fitting_opposite_channels_keeps_the_louder() -> None:
    """As a training does with a medium that is not a file."""
    tone = torch.sin(torch.arange(1000) / 5)
    with pytest.warns(UserWarning, match="cancel each other"):
        fitted = Audio().fit(torch.stack([tone, -0.9 * tone]), (1, 1000))
    assert torch.equal(fitted[0], tone)


def test_a_wav_with_a_long_chunk_before_its_samples_is_read(tmp_path: Path) -> None:
    """FFmpeg looks at the beginning of a WAV file alone."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (8000, 2)).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 8000, subtype="PCM_16")
    data = path.read_bytes()
    place = data.index(b"fmt ")
    data = data[:place] + b"JUNK" + (300_000).to_bytes(4, "little") + bytes(300_000) + data[place:]
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    audio = Audio(rate=8000, channels=2)
    assert audio.info(path).duration == 1
    assert np.abs(audio.read(path).numpy().T - samples).max() < 1 / 32767
