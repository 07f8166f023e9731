"""Which chord follows which: a weighted grammar of functions, drawn so that each phrase arrives at its cadence.

The tables say what textbooks of common-practice harmony say (tonic - predominant - dominant - tonic, descending
fifths, applied dominants to what they apply to, inversions for a stepwise bass); no corpus was counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from multigen.datasets.composer.chords import Chord, chord, chords
from multigen.datasets.composer.dice import Dice

_NEXT: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "major": {
        "I": {
            "I": 0.3, "ii": 0.8, "iii": 0.15, "IV": 1.0, "V": 1.0, "vi": 0.8, "viio": 0.4,
            "V/V": 0.25, "viio/V": 0.08, "V/vi": 0.35, "V/ii": 0.35, "V/IV": 0.35,
        },
        "ii": {"V": 1.4, "viio": 0.4, "ii": 0.25, "I": 0.08, "V/V": 0.25, "viio/V": 0.15},
        "iii": {"vi": 1.0, "IV": 0.7, "ii": 0.1},
        "IV": {"V": 1.0, "I": 0.7, "ii": 0.6, "viio": 0.4, "IV": 0.25, "V/V": 0.35, "viio/V": 0.25},
        "V": {"I": 1.4, "vi": 0.4, "V": 0.35, "IV": 0.15, "V/vi": 0.1},
        "vi": {"ii": 0.8, "IV": 0.8, "V": 0.4, "iii": 0.12, "I": 0.12, "V/V": 0.4, "V/ii": 0.35},
        "viio": {"I": 1.4},
        "V/V": {"V": 1.0}, "viio/V": {"V": 1.0}, "V/vi": {"vi": 1.0}, "V/ii": {"ii": 1.0}, "V/IV": {"IV": 1.0},
    },
    "minor": {
        "i": {
            "i": 0.3, "iio": 0.8, "III": 0.3, "iv": 1.0, "V": 1.0, "VI": 0.7, "VII": 0.2, "viio": 0.4,
            "V/V": 0.15, "V/iv": 0.35, "V/III": 0.25, "V/VI": 0.1,
        },
        "iio": {"V": 1.4, "viio": 0.3, "iio": 0.2},
        "III": {"VI": 0.9, "iv": 0.8, "iio": 0.2, "i": 0.15, "V": 0.15},
        "iv": {"V": 1.1, "i": 0.6, "iio": 0.5, "viio": 0.3, "iv": 0.25, "VII": 0.2, "V/III": 0.12},
        "V": {"i": 1.4, "VI": 0.4, "V": 0.35, "iv": 0.1},
        "VI": {"iio": 0.7, "iv": 0.7, "V": 0.35, "III": 0.25, "V/III": 0.2},
        "VII": {"III": 1.0},
        "viio": {"i": 1.4},
        "V/V": {"V": 1.0}, "V/iv": {"iv": 1.0}, "V/III": {"III": 1.0}, "V/VI": {"VI": 1.0},
    },
}  # fmt: skip
_FORMS = {  # how often a degree takes each of its figures
    "I": {"": 1.0, "6": 0.7}, "i": {"": 1.0, "6": 0.7}, "ii": {"": 0.5, "6": 0.8, "7": 0.15, "65": 0.5},
    "iio": {"6": 0.8, "65": 0.6}, "IV": {"": 1.0, "6": 0.4}, "iv": {"": 1.0, "6": 0.45},
    "V": {"": 1.0, "6": 0.6, "7": 0.45, "65": 0.5, "43": 0.25, "42": 0.35}, "III": {"": 1.0, "6": 0.3},
}  # fmt: skip
_APPLIED_FORMS = {"": 0.3, "6": 0.4, "7": 0.5, "65": 0.8, "42": 0.25}
_OPENINGS = {"I": 1.0, "i": 1.0, "I6": 0.2, "i6": 0.2, "V": 0.3, "vi": 0.15, "VI": 0.1, "IV": 0.1, "iv": 0.1}
_BASS = (0.3, 1.8, 1.8, 0.9, 0.9, 1.0, 0.08)  # by semitones that the bass moves, up or down
_SYNCOPE = 0.12  # a harmony that stays over a strong beat
_EARLY_CLOSE = 0.35  # V - I with both in root position, before the cadence
_PIVOT = 0.6


@cache
def weight(a: Chord, b: Chord) -> float:
    """How well b follows a within a phrase; 0 is never. Both in one key."""
    step = (b.bass - a.bass) % 12
    if a == b or (b.inversion == 2 and b.seventh is None):  # 6-4 chords stand in cadences alone
        return 0.0
    value = _NEXT[a.mode][a.degree].get(b.degree, 0.0)
    value *= (_APPLIED_FORMS if "/" in b.symbol else _FORMS.get(b.degree, {})).get(_figure(b), 1.0)
    value *= _BASS[min(step, 12 - step)]
    if a.bass == a.seventh and step not in (10, 11, 0):
        return 0.0
    if a.degree == b.degree:  # a seventh, once heard, stays until it resolves
        return 0.0 if (a.seventh is not None and b.seventh is None) or step == 0 else value
    if a.target in b.tones and a.bass == a.leading and step != 1:
        return 0.0
    if (
        a.target is None
        and a.mode == "minor"
        and {(a.bass - a.tonic) % 12, (b.bass - b.tonic) % 12} == {8, 11}
    ):
        return 0.0  # an augmented second
    if a.degree == "V" and b.degree in ("IV", "iv") and b.inversion != 1:
        return 0.0
    if a.seventh is not None and a.inversion == 0 and b.inversion != 0:
        return 0.0
    return value * (_EARLY_CLOSE if a.degree == "V" and not a.inversion and not b.inversion else 1.0)


def _figure(c: Chord) -> str:
    return c.symbol.partition("/")[0].removeprefix(c.degree.partition("/")[0])


class Key(tuple[int, str]):
    """A tonic (pitch class) and a mode."""

    __slots__ = ()

    def __new__(cls, tonic: int, mode: str) -> Key:
        return super().__new__(cls, (tonic % 12, mode))

    @property
    def tonic(self) -> int:
        return self[0]

    @property
    def mode(self) -> str:
        return self[1]

    @property
    def chords(self) -> list[Chord]:
        return [c.moved(self.tonic) for c in chords(self.mode)]


@cache
def _moves(old: Key, new: Key) -> tuple[list[Chord], np.ndarray]:
    """The chords of both keys and the weights [n, n] from each to each; from old to new by a common chord."""
    here, there = old.chords, new.chords if new != old else []
    states = [*here, *there]
    twin = {(c.tones, c.inversion): c for c in there if c.seventh is None and "/" not in c.symbol}
    weights = np.zeros((len(states), len(states)))
    for i, a in enumerate(states):
        for j, b in enumerate(states):
            if a.tonic == b.tonic and a.mode == b.mode:
                weights[i, j] = weight(a, b)
            elif i < len(here) and (same := twin.get((a.tones, a.inversion))) is not None:
                weights[i, j] = _PIVOT * weight(same, b)
    return states, weights


def progression(
    old: Key, new: Key, ending: Sequence[str], strong: Sequence[bool], dice: Dice
) -> list[Chord] | None:
    """Chords of a phrase that begins in one key and ends in another (or the same) with the symbols of `ending`.

    One chord for each of `strong`, which says whether it stands on a strong beat. Backward sums make every draw one
    that reaches the ending. None if none does.
    """
    states, weights = _moves(old, new)
    close = [chord(symbol, new.mode, new.tonic) for symbol in ending]
    free = len(strong) - len(close)
    staying = np.array(
        [[_SYNCOPE if a.degree == b.degree and a.tonic == b.tonic else 1.0 for b in states] for a in states]
    )
    steps = [weights * (staying if on_beat else 1.0) for on_beat in strong[1:free]]
    arrive = np.array([_join(c, close[0], new) for c in states])
    after = [arrive]
    for step in reversed(steps):
        after.append(step @ after[-1])
    after.reverse()
    begin = np.array([_OPENINGS.get(c.symbol, 0.0) if Key(c.tonic, c.mode) == old else 0.0 for c in states])
    if free < 1 or not (begin * after[0]).any():
        return None
    drawn = [_walk(states, steps, begin, after, dice) for _ in range(3)]
    return [*max(drawn, key=_variety), *close]


def _join(c: Chord, first: Chord, new: Key) -> float:
    """Weight from a free chord to the first of the cadence, which may be a 6-4 chord."""
    if Key(c.tonic, c.mode) != new:
        return 0.0
    if first.inversion == 2 and first.seventh is None:
        return {"ii": 1.0, "iio": 1.0, "IV": 1.0, "iv": 1.0, "V/V": 0.3}.get(c.degree, 0.0) * (
            c.bass != first.bass
        )
    return weight(c, first)


def _walk(
    states: list[Chord], steps: list[np.ndarray], begin: np.ndarray, after: list[np.ndarray], dice: Dice
) -> list[Chord]:
    at = dice.index(begin * after[0])
    path = [at]
    for step, later in zip(steps, after[1:], strict=True):
        at = dice.index(step[at] * later)
        path.append(at)
    return [states[i] for i in path]


def _variety(path: list[Chord]) -> float:
    """More chords, more inversions, fewer pairs said twice."""
    pairs = [(a.symbol, b.symbol) for a, b in pairwise(path)]
    return (
        len({c.degree for c in path}) + 0.5 * len({c.bass for c in path}) - 2 * (len(pairs) - len(set(pairs)))
    )
