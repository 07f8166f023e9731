"""The key in which notes are heard: how much of the music falls on each degree, compared with the 24 keys.

C major and A minor have the same notes; which of them weigh most tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# How much of the music in a key falls on each degree, from the tonic up in semitones: Albrecht and Shanahan 2013,
# "The use of large corpora to train a new type of key-finding algorithm", Music Perception 31(1), table 1.
PROFILES = {
    "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
}
KEYS = tuple((tonic, mode) for mode in PROFILES for tonic in range(12))
CLEAR = 0.04  # by which the best key's correlation exceeds the next one's where a key is plainly heard
Notes = Sequence[tuple[float, float, int]]  # onset, length in quarters, MIDI pitch


def correlations(weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Correlation of pitch-class weights [12], C to B, with each of `KEYS`: [24]; all 0 where all weigh the same.

    Krumhansl 1990, "Cognitive foundations of musical pitch", ch. 4, with the profiles of Albrecht and Shanahan 2013.
    """
    heard = np.asarray(weights, dtype=np.float64)
    heard = heard - heard.mean()
    return _EXPECTED @ heard / max(float(np.linalg.norm(heard)), 1e-20)


def key_of_notes(parts: Sequence[Notes], start: float, end: float) -> tuple[int, str] | None:
    """Tonic, 0 (C) to 11, and mode in which notes between two times in quarters are heard; None if none is plain."""
    weights = np.zeros(12)
    for part in parts:
        for onset, length, pitch in part:
            weights[pitch % 12] += max(0.0, min(onset + length, end) - max(onset, start))
    found = correlations(weights)
    order = np.argsort(found)
    return KEYS[order[-1]] if found[order[-1]] - found[order[-2]] >= CLEAR else None


def _expected() -> np.ndarray:
    """The profiles of `KEYS`, each of zero mean and unit length: [24, 12]."""
    rows = np.array([np.roll(PROFILES[mode], tonic) for tonic, mode in KEYS])
    rows -= rows.mean(1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


_EXPECTED = _expected()
