"""Encoded sounds against the wave that they were made of: delay, length, and spans from the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from multigen.modalities.audio import Audio
from tests.modalities.files import encode

RATE, SECONDS = 44100, 20


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """[1, N]: a rising tone with a click every half second, so that every place is unlike every other."""
    t = np.arange(RATE * SECONDS) / RATE
    x = 0.3 * np.sin(2 * np.pi * (200 + 30 * t) * t)
    for k in range(1, 2 * SECONDS):
        x[k * RATE // 2 : k * RATE // 2 + 40] += 0.5 * np.hanning(40)
    return x.astype(np.float32)[None]


def later(a: np.ndarray, b: np.ndarray) -> int:
    """By how many samples a lies later than b."""
    size = min(len(a), len(b))
    a, b, n = a[:size], b[:size], 1 << (2 * size - 1).bit_length()
    k = int(np.fft.irfft(np.fft.rfft(a, n) * np.conj(np.fft.rfft(b, n)), n).argmax())
    return k - n if k > n // 2 else k


# name -> (codec, container, delay in samples that nothing in the file tells, samples more than the wave has)
ENCODED = {
    "cbr.mp3": ("libmp3lame", None, 0, 0), "noxing.mp3": ("libmp3lame", None, 1105, 1584), "a.m4a": ("aac", None, 0, 0),
    "raw.aac": ("aac", "adts", 1024, 1712), "a.mkv": ("aac", None, 0, 688), "o.opus": ("libopus", "ogg", 0, 0),
    "o.webm": ("libopus", None, 0, 0), "f.flac": ("flac", None, 0, 0), "f.mkv": ("flac", None, 0, 0),
    "w.wma": ("wmav2", None, 0, 688), "p.mkv": ("pcm_s16le", None, 0, 0), "v.ogg": ("vorbis", None, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODED)
def test_a_span_is_the_same_part_of_the_whole_and_of_the_wave(
    tmp_path: Path, wave: np.ndarray, name: str
) -> None:
    codec, kind, delay, more = ENCODED[name]
    path = tmp_path / name
    if codec == "vorbis":
        soundfile.write(path, wave[0], RATE, format="OGG", subtype="VORBIS")
    elif codec == "libopus":
        n = round(wave.shape[1] * 48000 / RATE)
        at = np.arange(n) * RATE / 48000
        encode(
            path,
            np.interp(at, np.arange(wave.shape[1]), wave[0])[None].astype(np.float32),
            codec,
            48000,
            kind=kind,
        )
    else:
        options = {"write_xing": "0"} if name.startswith("noxing") else None
        encode(path, wave, codec, RATE, kind=kind, options=options, bits=0 if "flac" in codec else 128_000)
    reader = Audio(rate=RATE)
    whole = reader.read(path)[0].numpy()
    assert len(whole) == RATE * SECONDS + more
    assert later(whole[RATE : 4 * RATE], wave[0, RATE : 4 * RATE]) == delay
    assert reader.info(path).duration == pytest.approx(SECONDS, abs=0.045)
    for start in (0.3, 1.0, 7.123, 13.7, 18.9):
        span, first = reader.read(path, start=start, duration=1.0)[0].numpy(), round(start * RATE)
        assert len(span) == RATE
        assert np.abs(span - whole[first : first + RATE]).max() < 5e-3
        assert later(span, wave[0, first : first + RATE]) == delay


def test_sound_that_begins_late_in_its_file_keeps_its_place(tmp_path: Path, wave: np.ndarray) -> None:
    """The first 46 ms of a WMA cannot be decoded: they are silent, and what follows is in its place."""
    encode(tmp_path / "w.wma", wave, "wmav2", RATE)
    whole = Audio(rate=RATE).read(tmp_path / "w.wma")[0]
    assert float(whole[:2048].abs().max()) == 0
    assert float(whole[2048:4096].abs().max()) > 0.2


@pytest.mark.parametrize("name", ["live.webm", "live.mka", "raw.aac", "noxing.mp3"])
def test_a_length_that_the_header_does_not_give_is_counted(
    tmp_path: Path, wave: np.ndarray, name: str
) -> None:
    codec = {".webm": "libopus", ".mka": "aac", ".aac": "aac", ".mp3": "libmp3lame"}[Path(name).suffix]
    options = {".mp3": {"write_xing": "0"}, ".aac": {}}.get(Path(name).suffix, {"live": "1"})
    kind = {".aac": "adts", ".mka": "matroska"}.get(Path(name).suffix, Path(name).suffix[1:])
    rate, live = (48000, True) if codec == "libopus" else (RATE, name.startswith("live"))
    # Loud, then silent: a length guessed from the bit rate of the beginning would be wrong.
    sound = np.concatenate([wave, 0 * wave], axis=1)
    encode(tmp_path / name, sound, codec, rate, kind=kind, options=options, live=live)
    reader, seconds = Audio(rate=RATE), sound.shape[1] / rate
    assert reader.info(tmp_path / name).duration == pytest.approx(seconds, abs=0.05)
    assert reader.read(tmp_path / name, start=seconds - 2, duration=1.0).shape == (1, RATE)
