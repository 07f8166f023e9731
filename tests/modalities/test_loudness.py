"""Loudness against the test signals of EBU Tech 3341 and the arithmetic of BS.1770."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch

from multigen.modalities.audio import Audio
from multigen.modalities.loudness import CEILING, measure, normalise


def sine(rate: int, seconds: float, level: float, channels: int = 2, hertz: float = 1000.0) -> np.ndarray:
    """A sine at `level` dB of full scale, alike in all channels."""
    wave = 10 ** (level / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[None].astype(np.float32), channels, 0)


@pytest.mark.parametrize(("rate", "level"), [(48_000, -23.0), (48_000, -33.0), (22_050, -23.0)])
def test_a_stereo_sine_is_as_loud_as_its_level(rate: int, level: float) -> None:
    """EBU Tech 3341, cases 1 and 2: 20 s, within 0.1 LU."""
    found = measure(sine(rate, 20, level), rate)
    assert found.lufs == pytest.approx(level, abs=0.1)
    assert found.peak == pytest.approx(level, abs=0.2)


def test_one_channel_is_3_lu_softer_and_silence_is_gated() -> None:
    """BS.1770-4: channels add in power; blocks 10 LU below the rest do not count (EBU Tech 3341, case 3)."""
    assert measure(sine(48_000, 5, -20, channels=1), 48_000).lufs == pytest.approx(-23.01, abs=0.1)
    loud, quiet = sine(48_000, 60, -23), sine(48_000, 10, -36)
    assert measure(np.concatenate([quiet, loud, quiet], 1), 48_000).lufs == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0])
def test_short_sounds_are_measured_too(seconds: float) -> None:
    assert measure(sine(48_000, seconds, -23), 48_000).lufs == pytest.approx(-23, abs=0.2)


@pytest.mark.parametrize("channels", [3, 6, 7, 8])
def test_many_channels_are_measured(channels: int) -> None:
    """The front ones add in power, those behind count 1.5 dB more, the LFE not at all (BS.1770-4, table 4)."""
    weights = {3: 3.0, 6: 3 + 2 * 1.41, 7: 3 + 3 * 1.41, 8: 3 + 4 * 1.41}[channels]
    level = -23.01 + 10 * math.log10(weights)
    found = measure(sine(48_000, 5, -20, channels=channels), 48_000).lufs
    assert found == pytest.approx(level, abs=0.6)


def test_silence_has_no_loudness_and_stays() -> None:
    silence = torch.zeros(1, 4800)
    assert measure(silence.numpy(), 48_000) == (-math.inf, -math.inf)
    assert normalise(silence, 48_000, -14) is silence
    assert Audio(rate=48_000).facts(silence) == {"loudness": "silence"}


def test_the_loudness_asked_for_is_set(caplog: pytest.LogCaptureFixture) -> None:
    media = torch.from_numpy(sine(22_050, 4, -30, channels=1))
    out = Audio().finish(media, {"lufs": -23.0})
    assert measure(out.numpy(), 22_050).lufs == pytest.approx(-23, abs=0.1)
    assert not caplog.records
    assert Audio().finish(media, {"lufs": None}) is media


def test_peaks_stay_below_full_scale_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    media = torch.from_numpy(sine(22_050, 4, -30, channels=1))
    media[0, 1000] = 0.5
    with caplog.at_level(logging.WARNING):
        out = normalise(media, 22_050, -10)
    assert measure(out.numpy(), 22_050).peak <= CEILING + 0.1
    assert "-10.0 LUFS would take the peaks over -1 dB" in caplog.text
