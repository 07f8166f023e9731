"""The soprano: a line over given chords, mostly stepwise, with one high point per phrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from multigen.datasets.composer.chords import Chord
from multigen.datasets.composer.dice import Dice

LOW, HIGH = 60, 79
NEVER = 1000.0  # cost of breaking a rule
# Cost of a step, by its size in semitones.
_MOTION = (1.3, 0.0, 0.0, 0.9, 0.9, 1.7, NEVER, 2.6, 4.0, 4.5, NEVER, NEVER, 5.0)
_CLOSES = {"authentic": {0: 0.0, 4: 1.5, 3: 1.5, 7: 4.0}, "half": {2: 0.0, 11: 0.8, 7: 1.2}}
_OTHER_CLOSE = {0: 0.0, 4: 0.5, 3: 0.5, 7: 1.5}


@dataclass(frozen=True)
class Slot:
    """A chord in time.

    onset, length  quarters
    ends           the cadence that the chord ends, if it ends one
    last           whether it is the piece's last chord
    """

    chord: Chord
    onset: float
    length: float
    ends: str | None = None
    last: bool = False


def _forbidden(a: Chord, b: Chord, pitch: int, after: int, boundary: bool = False) -> float:
    """NEVER if a rule forbids the soprano to move from `pitch` in chord a to `after` in chord b, else 0."""
    step, pc = after - pitch, pitch % 12
    if abs(step) == 3 and b.mode == "minor" and {(pc - b.tonic) % 12, (after - b.tonic) % 12} == {8, 11}:
        return NEVER  # an augmented second
    if boundary:
        return 0.0
    if pc == a.leading and a.degree != b.degree and a.target in b.tones and step != 1 and pc not in b.tones:
        return NEVER
    if pc == a.seventh and not (step in (-1, -2) or (step == 0 and pc in b.tones)):
        return NEVER
    return 0.0


def contour(slots: Sequence[Slot], dice: Dice) -> np.ndarray:
    """Target pitches [n] of the line: each phrase rises to its own peak and falls to its cadence."""
    aims: list[float] = []
    start = 0
    centre = dice.between(67.0, 70.0)
    for end, slot in enumerate(slots):
        if slot.ends is None:
            continue
        n = end + 1 - start
        peak = dice.between(0.25, 0.7) * (n - 1)
        height = dice.between(4.0, 7.5)
        first, final = dice.between(-2.5, 1.5), dice.between(-3.5, 0.0)
        for t in range(n):
            low, way = (first, t / peak) if t <= peak else (final, (n - 1 - t) / max(n - 1 - peak, 1e-9))
            aims.append(centre + low + (height - low) * way)
        start = end + 1
    return np.array(aims)


def soprano(slots: Sequence[Slot], dice: Dice) -> list[int]:
    """The cheapest line by dynamic programming over pairs of notes, with some random cost.

    Pairs make the cost second order, so that a leap can be followed by a step back.
    """
    aims = contour(slots, dice)
    options = [[p for p in range(LOW, HIGH + 1) if p % 12 in s.chord.tones] for s in slots]
    noise = 0.8 * dice.normal(len(slots), HIGH + 1)
    single = [
        [0.45 * abs(p - aims[t]) + noise[t, p] + _close(slot, p) for p in options[t]]
        for t, slot in enumerate(slots)
    ]
    # (previous note, note) -> cost of the line so far
    costs = {(p, p): single[0][i] for i, p in enumerate(options[0])}
    back: list[dict[tuple[int, int], int]] = []
    for t in range(1, len(slots)):
        here, there = slots[t - 1], slots[t]
        boundary = here.ends is not None
        ways = {
            pitch: [(p, single[t][i] + _move(here, there, pitch, p)) for i, p in enumerate(options[t])]
            for pitch in options[t - 1]
        }
        reached: dict[tuple[int, int], float] = {}
        came: dict[tuple[int, int], int] = {}
        for (before, pitch), cost in costs.items():
            for after, price in ways[pitch]:
                total = cost + price + _answer(pitch - before, after - pitch, boundary)
                if total < reached.get((pitch, after), np.inf):
                    reached[pitch, after], came[pitch, after] = total, before
        costs = reached
        back.append(came)
    pair = min(costs, key=costs.__getitem__)
    line = [pair[1]]
    for came in reversed(back):
        line.append(pair[0])
        pair = (came[pair], pair[0])
    return line[::-1]


def _close(slot: Slot, pitch: int) -> float:
    if slot.ends is None:
        return 0.6 if pitch % 12 == slot.chord.leading else 0.0
    degree = (pitch - slot.chord.tonic) % 12
    if slot.last:
        return 0.0 if degree == 0 else NEVER
    return _CLOSES.get(slot.ends, _OTHER_CLOSE).get(degree, 3.0)


def _move(a: Slot, b: Slot, pitch: int, after: int) -> float:
    """Cost of moving from `pitch` to `after`."""
    step, boundary = after - pitch, a.ends is not None
    size = abs(step)
    cost = NEVER if size > 12 else _MOTION[size] * (0.5 if boundary else 1.0)
    cost += _forbidden(a.chord, b.chord, pitch, after, boundary)
    here, there = (pitch - a.chord.bass) % 12, (after - b.chord.bass) % 12
    if here == there and here in (0, 7) and step and a.chord.bass != b.chord.bass:
        cost += NEVER  # parallels with the bass
    return cost


@cache
def _answer(last: int, step: int, boundary: bool) -> float:
    """Cost of a step after the previous one: leaps want a step back, and no note comes three times in a row."""
    cost = 3.0 if step == 0 and last == 0 else 0.0
    if not boundary and abs(last) >= 5 and (step * last > 0 or abs(step) > 4):
        cost += 3.0
    if not boundary and abs(last) >= 3 and abs(step) >= 3 and step * last > 0:
        cost += 2.0
    return cost + (0.5 if step == -last and step else 0.0)
