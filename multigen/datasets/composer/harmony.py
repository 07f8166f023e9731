"""Chord progressions: a weighted grammar, sampled so that each phrase reaches its cadence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from multigen.datasets.composer.chords import Chord, chord, chords
from multigen.datasets.composer.dice import Dice
from multigen.datasets.composer.grammar import weight

_OPENINGS = {"I": 1.0, "i": 1.0, "I6": 0.2, "i6": 0.2, "V": 0.3, "vi": 0.15, "VI": 0.1, "IV": 0.1, "iv": 0.1}
_SYNCOPE = 0.12  # weight of a harmony that continues over a strong beat
_PIVOT = 0.6  # weight of a modulation by a common chord


class Key(tuple[int, str]):
    """A tonic (pitch class) and a mode."""

    __slots__ = ()

    def __new__(cls, tonic: int, mode: str) -> Key:
        """A key on any tonic, taken modulo 12."""
        return super().__new__(cls, (tonic % 12, mode))

    @property
    def tonic(self) -> int:
        """Pitch class of the tonic, 0 is C."""
        return self[0]

    @property
    def mode(self) -> str:
        """ "major" or "minor"."""
        return self[1]

    @property
    def chords(self) -> list[Chord]:
        """All chords of the key."""
        return [c.moved(self.tonic) for c in chords(self.mode)]


@cache
def _moves(old: Key, new: Key) -> tuple[list[Chord], np.ndarray]:
    """The chords of both keys and the weights [n, n] from each to each; a common chord leads from old to new."""
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
    """Chords of a phrase from key `old` to key `new` (which may be the same) that ends with the symbols of `ending`.

    `strong` has an entry per chord: whether it stands on a strong beat. Backward sums ensure that every draw reaches
    the ending. None if no progression does.
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
    """Weight from a free chord to the first chord of the cadence, which may be a 6-4 chord."""
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
    """A score for different chords, different bass notes and few repeated pairs."""
    pairs = [(a.symbol, b.symbol) for a, b in pairwise(path)]
    return (
        len({c.degree for c in path}) + 0.5 * len({c.bass for c in path}) - 2 * (len(pairs) - len(set(pairs)))
    )
