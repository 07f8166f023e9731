"""Four-part pieces, composed from a seed by textbook rules, as chorales or as melodies with accompaniment.

The steps: a plan (metre, phrases, keys, cadences, chords), a soprano line, four voices, then the texture: suspensions
and passing notes in all voices, or in the melody over a figure of the others. The rules contain no notes and no
statistics of existing music.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from multigen.datasets.composer.accompaniment import accompanied
from multigen.datasets.composer.dice import Dice
from multigen.datasets.composer.figures import figured, melody
from multigen.datasets.composer.form import Plan, plan
from multigen.datasets.composer.melody import Slot, soprano
from multigen.datasets.composer.voices import lead
from multigen.datasets.scores import BREATH, Score

Texture = Literal["chorale", "song"]
VERSION = 2  # of the rules; other versions compose other pieces
_PLANS, _LINES = 50, 4  # attempts for a seed: plans, and soprano lines per plan


def compose(seed: int, texture: Texture = "chorale") -> Score:
    """Compose the piece of a seed.

    Its four voices, soprano to bass, hold notes of (onset, length) in quarters and MIDI pitch.
    """
    return compose_with_plan(seed, texture)[0]


def compose_with_plan(seed: int, texture: Texture = "chorale") -> tuple[Score, Plan]:
    """Compose the piece of a seed; also return the plan that it follows, which is that of any texture."""
    for attempt in range(_PLANS):
        made = plan(Dice(seed, "plan", attempt))
        slots = _slots(made)
        for line in range(_LINES):
            dice = Dice(seed, "notes", attempt, line)
            voices = lead(slots, soprano(slots, dice))
            if voices is not None:
                if texture == "chorale":
                    notes = figured(slots, voices, BREATH, dice)
                else:
                    notes = accompanied(slots, voices, melody(slots, voices, BREATH, dice), BREATH, dice)
                parts = tuple(tuple(part) for part in notes)
                return Score(made.home.tonic, made.home.mode, parts, made.metre), made
    raise AssertionError(f"seed {seed}: no voices for any of {_PLANS} plans")


def _slots(made: Plan) -> Sequence[Slot]:
    slots = []
    for phrase in made.phrases:
        for index, (chord, onset, length) in enumerate(
            zip(phrase.chords, phrase.onsets, phrase.lengths, strict=True)
        ):
            ends = phrase.cadence if index == len(phrase.chords) - 1 else None
            slots.append(Slot(chord, onset, length, ends, ends is not None and phrase is made.phrases[-1]))
    return slots
