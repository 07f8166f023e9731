"""Cutting a SoundFont: loops stay in tune, instruments that were not asked for go."""

from __future__ import annotations

import lzma
import struct

import numpy as np
import pytest

from benchmarks.soundfont import RATE, compress, cut, read, resample
from multigen import sounds
from multigen.errors import MultigenError


@pytest.mark.parametrize(
    ("rate", "period", "turns"), [(44100, 100.5, 2), (32000, 97.0, 1), (48000, 73.25, 4)]
)
def test_a_loop_keeps_its_pitch_and_its_seam(rate: int, period: float, turns: int) -> None:
    """A sine whose loop is whole: heard for two seconds after resampling it is the same sine."""
    loop = (3 * rate // 10, 3 * rate // 10 + round(period * turns))
    sine = 20000 * np.sin(2 * np.pi * np.arange(loop[1] + 50) / period)
    made = resample(sine, rate, loop)
    first, end = made.loop
    assert made.rate <= RATE + 1
    assert end + 4 == len(made.sound)
    step = 2 * np.pi / period * (loop[1] - loop[0]) / (end - first)  # radians a sample
    assert (
        abs(1200 * np.log2(step * made.rate / (2 * np.pi * rate / period))) < 0.05
    )  # cents, as rates are whole
    heard = np.concatenate([made.sound[:first], np.resize(made.sound[first:end], 2 * made.rate)])
    # Fitted in its middle, away from both ends and before the loop comes round.
    wanted = 20000 * np.sin(step * np.arange(len(heard)) + _phase(made.sound, step))
    inside = slice(200, None)
    assert np.abs(heard[inside] - wanted[inside]).max() < 0.002 * 20000


def _phase(sound: np.ndarray, step: float) -> float:
    """Of a sine at sample 0."""
    window = np.hanning(len(sound)) * sound
    return float(np.angle((window * np.exp(-1j * step * np.arange(len(sound)))).sum()) + np.pi / 2)


def test_what_is_above_the_new_band_goes_and_a_slow_sample_stays() -> None:
    time = np.arange(30000)
    high = 20000 * np.sin(2 * np.pi * 15000 / 44100 * time)
    assert np.abs(resample(high, 44100, None).sound[100:-100]).max() < 20
    low = (20000 * np.sin(2 * np.pi * 1000 / 22050 * time)).round()
    kept = resample(low, 22050, None)
    assert kept.rate == 22050
    assert np.abs(kept.sound[100:-100] - low[100 : len(kept.sound) - 100]).max() < 100


def test_cutting_keeps_what_was_asked_for() -> None:
    """The shipped font cut again: one instrument is left, with its samples at their rates and its loops."""
    font = lzma.decompress(sounds.FONT.read_bytes())
    chunks, tables = read(font)
    less = cut(font, (68,))
    kept, rows = read(less)
    assert len(tables[b"phdr"]) == len(sounds.INSTRUMENTS) + 1
    assert [row[1] for row in rows[b"phdr"][:-1]] == [68]
    names = {row[0].rstrip(b"\0") for row in rows[b"shdr"][:-1]}
    assert names and all(name.startswith(b"Oboe") for name in names)
    assert kept[b"ICOP"] == chunks[b"ICOP"]
    assert struct.unpack_from("<I", less, 4)[0] + 8 == len(less)
    before = {row[0]: row for row in tables[b"shdr"]}
    for name, start, end, loop, loop_end, rate, *_ in rows[b"shdr"][:-1]:
        was = before[name]
        assert start <= loop < loop_end <= end
        assert rate == was[5] and loop_end - loop == was[4] - was[3]
    assert lzma.decompress(compress(less)) == less
    with pytest.raises(MultigenError, match="0 of the 1"):
        cut(font, (99,))
    with pytest.raises(MultigenError, match="no SoundFont"):
        cut(b"RIFF of another kind", (0,))
