"""The key of notes: scales are not enough, and what belongs to no key has none."""

from __future__ import annotations

import numpy as np
import pytest

from multigen.datasets.composer import compose_with_plan
from multigen.datasets.keys import KEYS, PROFILES, correlations, key_of_notes


@pytest.mark.parametrize(("tonic", "mode"), KEYS)
def test_a_cadence_is_in_its_key_at_any_time(tonic: int, mode: str) -> None:
    third = 4 if mode == "major" else 3
    sixth = 9 if mode == "major" else 8
    chords = ((0, third, 7), (5, sixth, 12), (7, 11, 14), (0, third, 7))
    notes = [(float(t), 1.0, 48 + tonic + step) for t, chord in enumerate(chords) for step in chord]
    assert key_of_notes([notes], 0.0, 4.0) == (tonic, mode)
    late = [(onset + 100, length, pitch) for onset, length, pitch in notes]
    assert key_of_notes([notes, late], 100.0, 104.0) == (tonic, mode)


def test_a_profile_is_its_own_key() -> None:
    for k, (tonic, mode) in enumerate(KEYS):
        found = correlations(np.roll(PROFILES[mode], tonic))
        assert found.argmax() == k and found[k] == pytest.approx(1)


def test_what_is_in_no_key_has_none() -> None:
    chromatic = [(float(k), 1.0, 60 + k) for k in range(12)]
    diminished = [(0.0, 4.0, 60 + 3 * k) for k in range(4)]
    for notes in (chromatic, diminished):
        assert key_of_notes([notes], 0.0, 12.0) is None
    assert key_of_notes([chromatic], 20.0, 24.0) is None  # silence
    assert np.abs(correlations(np.full(12, 0.3))).max() < 1e-12


def test_parts_of_composed_pieces_are_in_the_keys_of_their_chords() -> None:
    """Phrases in one key throughout, by the plan that the notes follow."""
    right = wrong = 0
    for seed in range(12):
        score, plan = compose_with_plan(seed)
        for phrase in plan.phrases:
            if {(chord.tonic, chord.mode) for chord in phrase.chords} != {phrase.key}:
                continue
            heard = key_of_notes(score.parts, phrase.onsets[0], phrase.onsets[-1] + phrase.lengths[-1])
            right += heard == phrase.key
            wrong += heard not in (None, phrase.key)
    assert right >= 30
    assert wrong <= 0.1 * right
