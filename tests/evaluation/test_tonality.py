"""The key of sounds whose key is known."""

from __future__ import annotations

import math

import pytest
import torch

from multigen.evaluation.tonality import ends_on, key_correlations, key_of, note_weights

RATE = 22050
# Roots and qualities of a cadence, in semitones above the tonic: I IV V I, and i iv V i with the raised seventh.
CADENCES = {
    "major": ((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)),
    "minor": ((0, 3, 7), (5, 8, 12), (7, 11, 14), (0, 3, 7)),
}


def note(pitch: float, seconds: float = 0.7) -> torch.Tensor:
    """[N], a MIDI pitch with six partials that fall as 1 / k."""
    t = torch.arange(round(RATE * seconds), dtype=torch.float64) / RATE
    f = 440 * 2 ** ((pitch - 69) / 12)
    return sum((torch.sin(2 * math.pi * f * k * t) / k for k in range(1, 7)), torch.zeros(len(t))).float()


def cadence(tonic: int, mode: str) -> torch.Tensor:
    chords = [sum(note(48 + tonic + step) for step in (chord[0] - 12, *chord)) for chord in CADENCES[mode]]
    return 0.05 * torch.cat([torch.as_tensor(chord) for chord in chords])


@pytest.mark.parametrize("mode", ["major", "minor"])
def test_cadences_are_in_their_keys(mode: str) -> None:
    assert [key_of(cadence(tonic, mode), RATE) for tonic in range(12)] == [(t, mode) for t in range(12)]


def test_partials_are_no_notes() -> None:
    """The third and fifth partials of C are G and E: neither weighs more than the other notes that are not there."""
    weights = note_weights(note(60.0), RATE)
    assert weights[0] > 0.4
    assert weights[[4, 7]].max() < weights[[2, 3, 5, 6, 8, 9]].median() * 1.2
    assert weights.sum().item() == pytest.approx(1, rel=1e-5)
    assert note_weights(torch.zeros(RATE), RATE).abs().max() == 0
    assert set(key_correlations(torch.zeros(RATE), RATE).values()) == {0.0}


def test_level_and_octave_do_not_count() -> None:
    piece = cadence(2, "minor")
    found, soft = key_correlations(piece, RATE), key_correlations(1e-3 * piece, RATE)
    assert max(abs(found[key] - soft[key]) for key in found) < 1e-4


@pytest.mark.parametrize("mode", ["major", "minor"])
def test_the_last_chord_is_heard_under_the_silence_after_it(mode: str) -> None:
    """A cadence on each tonic ends on it, cut before its last chord on the dominant, and on nothing else."""
    for tonic in range(0, 12, 5):
        whole = cadence(tonic, mode)
        half = whole[: len(whole) * 3 // 4]
        silence = torch.zeros(2 * RATE)
        for sound, last in ((whole, tonic), (half, (tonic + 7) % 12)):
            padded = torch.cat([sound, silence + 1e-4 * torch.randn(len(silence))])
            assert [t for t in range(12) if ends_on(padded, RATE, t)] == [last]
    assert not ends_on(torch.zeros(RATE), RATE, 0)
