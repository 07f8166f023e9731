"""Another texture from the same four voices: the soprano as a melody, the others as its accompaniment in a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from multigen.datasets.composer.dice import Dice
from multigen.datasets.composer.figures import Notes
from multigen.datasets.composer.melody import Slot

# Figures within one quarter: (onset, length in quarters, voice); voices 1 to 3 are alto, tenor and bass.
_FIGURES: Mapping[str, tuple[tuple[float, float, int], ...]] = {
    "after-beats": ((0.0, 0.5, 3), (0.5, 0.5, 2), (0.5, 0.5, 1)),
    "broken in eighths": ((0.0, 0.5, 3), (0.0, 0.5, 2), (0.5, 0.5, 1)),
    "broken in triplets": ((0.0, 1 / 3, 3), (1 / 3, 1 / 3, 2), (2 / 3, 1 / 3, 1)),
    "Alberti bass": ((0.0, 0.25, 3), (0.25, 0.25, 1), (0.5, 0.25, 2), (0.75, 0.25, 1)),
}
_WEIGHTS = {"after-beats": 1.0, "broken in eighths": 1.0, "broken in triplets": 0.7, "Alberti bass": 0.7}


def accompanied(
    slots: Sequence[Slot],
    pitches: np.ndarray,
    melody: Sequence[tuple[float, float, int]],
    breath: float,
    dice: Dice,
) -> Notes:
    """A melody over three voices that play one figure in every quarter and rest on the last chord of each phrase.

    pitches  [n, 4], soprano to bass, of which the lower three accompany
    breath   share of a phrase's last chord that is rest
    """
    figure = _FIGURES[dice.pick(_WEIGHTS)]
    voices: Notes = [list(melody), [], [], []]
    for t, slot in enumerate(slots):
        if slot.ends is not None:
            for voice in (1, 2, 3):
                voices[voice].append((slot.onset, slot.length * (1 - breath), int(pitches[t, voice])))
            continue
        for beat in range(round(slot.length)):
            for onset, length, voice in figure:
                voices[voice].append((slot.onset + beat + onset, length, int(pitches[t, voice])))
    return voices
