"""The measures on sounds whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch

from multigen.evaluation.audio import (
    chroma,
    chroma_distance,
    clipping_share,
    detune,
    loudness,
    onset_rate,
    silence_share,
    stft_distance,
    tempo,
)

RATE = 22050


def tones(*pitches: float, seconds: float = 3.0, level: float = 0.2) -> torch.Tensor:
    """[N], sines at MIDI pitches."""
    t = torch.arange(round(RATE * seconds), dtype=torch.float64) / RATE
    waves = [level * torch.sin(2 * math.pi * 440 * 2 ** ((p - 69) / 12) * t) for p in pitches]
    return torch.stack(waves).sum(0).float()


@pytest.mark.parametrize(
    ("offset", "expected"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (-0.4, 0.4), (1.0, 0.0)]
)
def test_detune_is_the_distance_from_the_nearest_note(offset: float, expected: float) -> None:
    """A high note, where a bin is narrow against a semitone."""
    assert detune(tones(88 + offset), RATE).item() == pytest.approx(expected, abs=0.05)


def test_detune_of_a440_and_of_noise() -> None:
    assert detune(tones(69.0), RATE) < 0.1
    noise = torch.randn(4, 5 * RATE, generator=torch.Generator().manual_seed(0))
    assert detune(noise, RATE).tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_chroma_of_a_chord() -> None:
    share = chroma(tones(60.0, 64.0, 67.0, 72.0), RATE)
    assert share.sum().item() == pytest.approx(1, rel=1e-5)
    assert share[[0, 4, 7]].tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.02)
    assert chroma(torch.zeros(RATE), RATE).abs().max() == 0


def test_chroma_distance() -> None:
    c, d = tones(60.0, 64.0, 67.0), tones(62.0, 66.0, 69.0)
    assert chroma_distance(c, c, RATE) == 0
    assert chroma_distance(c, d, RATE) > 0.95
    assert chroma_distance(c, tones(60.0, 64.0, 69.0), RATE).item() == pytest.approx(1 / 3, abs=0.03)
    assert chroma_distance(c, 0.1 * c, RATE) < 1e-4  # loudness does not count


def test_stft_distance() -> None:
    a = tones(60.0, 64.0)
    assert stft_distance(a, a) == 0
    assert stft_distance(0.7 * a, a).item() == pytest.approx(0.3, abs=1e-4)
    assert stft_distance(torch.zeros_like(a), a).item() == pytest.approx(1, abs=1e-4)
    assert stft_distance(-a, a) < 1e-5  # phase does not count


def test_onset_rate_counts_notes() -> None:
    """Notes of a quarter of a second that begin and die away: 4 a second, whatever the level."""
    notes = [tones(p, seconds=0.25, level=0.5) * torch.linspace(1, 0, RATE // 4)[: round(RATE * 0.25)].square()
             for p in (60.0, 67.0, 64.0, 72.0) * 4]  # fmt: skip
    sound = torch.cat(notes)
    assert onset_rate(sound, RATE).item() == pytest.approx(4, abs=0.3)
    assert onset_rate(0.1 * sound, RATE).item() == pytest.approx(4, abs=0.3)
    assert onset_rate(torch.zeros(RATE * 4), RATE) == 0
    assert onset_rate(tones(60.0, seconds=4.0), RATE) < 0.8  # its start, and its end


def test_silence_clipping_and_loudness() -> None:
    tone, rest = tones(69.0, seconds=2.0, level=0.1), torch.zeros(2 * RATE)
    assert silence_share(torch.cat([tone, rest]), RATE).item() == pytest.approx(0.5, abs=0.02)
    assert silence_share(1e-4 * tone, RATE) == 1
    sound = torch.zeros(1000)
    sound[:10], sound[10:20] = 1.0, -1.2
    assert clipping_share(sound).item() == pytest.approx(0.02)
    # A sine of level 0.1 has a mean square of 0.005: -23.01 dB; the rest is gated out.
    assert loudness(tone, RATE).item() == pytest.approx(-23.01, abs=0.05)
    assert loudness(torch.cat([tone, rest]), RATE).item() == pytest.approx(-23.01, abs=0.4)
    assert loudness(rest, RATE) == -math.inf


def test_leading_axes_are_kept() -> None:
    batch = torch.stack([tones(60.0), tones(64.3)])[:, None]
    for measure in (detune, chroma, onset_rate, silence_share, loudness):
        both = measure(batch, RATE)
        assert both.shape[:2] == (2, 1)
        torch.testing.assert_close(both[1, 0], measure(batch[1, 0], RATE))
    assert stft_distance(batch, batch.flip(0)).shape == (2, 1)


@pytest.mark.parametrize("bpm", [66, 72, 80, 92, 104, 112, 124])
def test_tempo_of_known_beats(bpm: int) -> None:
    """Decaying notes on each beat and softer ones on half of the half beats, over a held tone."""
    seconds = 6.0
    t = torch.arange(round(RATE * seconds)) / RATE
    sound = 0.05 * torch.sin(2 * math.pi * 110 * t)
    for k in range(int(seconds * bpm / 30)):
        since = t - k * 30 / bpm
        level = 0.3 if k % 2 == 0 else 0.15 * (k % 4 == 1)
        pitch = 220 * 2 ** ((k * 5 % 12) / 12)
        sound += (
            level * (since >= 0) * torch.exp(-6 * since.clamp_min(0)) * torch.sin(2 * math.pi * pitch * since)
        )
    assert tempo(sound, RATE, 64, 128) == pytest.approx(bpm, rel=0.02)


def test_silence_has_no_tempo() -> None:
    assert math.isnan(tempo(torch.zeros(RATE), RATE, 64, 128))
