"""Four-part pieces in the manner of chorales, composed by the textbook's rules from a seed.

A plan (metre, phrases, keys, cadences, chords), a soprano line, four voices, then suspensions and passing notes. No
notes and no statistics of any collection of music are in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from multigen.datasets.composer.dice import Dice
from multigen.datasets.composer.figures import figured
from multigen.datasets.composer.form import Plan, plan
from multigen.datasets.composer.melody import Slot, soprano
from multigen.datasets.composer.voices import lead
from multigen.datasets.scores import BREATH, Score

VERSION = 1  # of the rules: another one composes other pieces
_PLANS, _LINES = 50, 4


def compose(seed: int) -> Score:
    """The piece of a seed: four voices from soprano to bass, each a line of (onset, length) in quarters and pitch."""
    return compose_with_plan(seed)[0]


def compose_with_plan(seed: int) -> tuple[Score, Plan]:
    """The piece of a seed and the plan that it follows."""
    for attempt in range(_PLANS):
        made = plan(Dice(seed, "plan", attempt))
        slots = _slots(made)
        for line in range(_LINES):
            dice = Dice(seed, "notes", attempt, line)
            voices = lead(slots, soprano(slots, dice))
            if voices is not None:
                notes = figured(slots, voices, BREATH, dice)
                parts = tuple(tuple(part) for part in notes)
                return Score(made.home.tonic, made.home.mode, parts), made
    raise AssertionError(f"no voices for any of {_PLANS} plans of seed {seed}")


def _slots(made: Plan) -> Sequence[Slot]:
    slots = []
    for phrase in made.phrases:
        for index, (chord, onset, length) in enumerate(
            zip(phrase.chords, phrase.onsets, phrase.lengths, strict=True)
        ):
            ends = phrase.cadence if index == len(phrase.chords) - 1 else None
            slots.append(Slot(chord, onset, length, ends, ends is not None and phrase is made.phrases[-1]))
    return slots
