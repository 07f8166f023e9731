"""Four voices over given chords: dynamic programming over every spacing of each chord.

The rules are those of any textbook of common-practice part-writing: ranges; no crossing; at most an octave between
neighbouring upper voices; no parallel fifths and octaves, and no hidden ones between the outer voices; leading tones
and sevenths resolve and are not doubled; no augmented seconds; chromatic changes stay in one voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

from multigen.datasets.composer.chords import Chord
from multigen.datasets.composer.melody import NEVER, Slot

RANGES = ((60, 79), (55, 74), (48, 67), (40, 60))  # soprano, alto, tenor, bass
_CENTRES = np.array([69.0, 64.0, 57.0, 49.0])
_TETHER = np.array([0.0, 0.02, 0.02, 0.03])  # pull to the centre
_INERTIA = np.array([0.0, 0.35, 0.35, 0.12])  # cost of a semitone
_NEAR = 5  # semitones by which the soprano may leave its line


def lead(slots: Sequence[Slot], line: Sequence[int]) -> np.ndarray | None:
    """Pitches [n, 4], soprano to bass, near the soprano `line`; None if every path breaks a rule."""
    options, costs = [], []
    for slot, note in zip(slots, line, strict=True):
        spacings, price = voicings(slot.chord)
        kept = np.abs(spacings[:, 0] - note) <= _NEAR
        if slot.last:
            kept &= spacings[:, 0] % 12 == slot.chord.tonic
        options.append(spacings[kept])
        costs.append(price[kept] + 2.5 * np.abs(spacings[kept, 0] - note))
    total, back = costs[0], []
    for t in range(1, len(slots)):
        if not len(options[t]):
            return None
        way = total[:, None] + _change(slots[t - 1], slots[t], options[t - 1], options[t])
        back.append(way.argmin(0))
        total = way.min(0) + costs[t]
    at = int(total.argmin())
    if total[at] >= NEVER:
        return None
    path = [at]
    for came in reversed(back):
        path.append(int(came[path[-1]]))
    return np.stack([choice[i] for choice, i in zip(options, path[::-1], strict=True)])


@lru_cache(maxsize=4096)
def voicings(c: Chord) -> tuple[np.ndarray, np.ndarray]:
    """All spacings [n, 4] of a chord within the voices' ranges, and their costs [n]."""
    own = [[p for p in range(low, high + 1) if p % 12 in c.tones] for low, high in RANGES]
    bass = [p for p in own[3] if p % 12 == c.bass]
    found = [
        (s, a, t, b)
        for b in bass
        for t in own[2]
        if b <= t <= b + 24
        for a in own[1]
        if t <= a <= t + 12
        for s in own[0]
        if a <= s <= a + 12 and _doubling(c, (s, a, t, b)) < NEVER
    ]
    pitches = np.array(found, dtype=np.int16).reshape(-1, 4)
    cost = np.array([_doubling(c, v) + _spacing(v) for v in found])
    return pitches, cost + (np.square(pitches - _CENTRES) * _TETHER).sum(1)


def _doubling(c: Chord, voicing: tuple[int, ...]) -> float:
    """Cost of the tones that are doubled or missing."""
    counts = [sum(p % 12 == tone for p in voicing) for tone in c.tones]
    if any(tone in (c.leading, c.seventh) and n > 1 for tone, n in zip(c.tones, counts, strict=True)):
        return NEVER
    if not counts[0] or not counts[1] or (c.seventh is not None and not counts[3]):
        return NEVER
    if not counts[2] and (c.inversion or c.diminished):
        return NEVER
    if c.seventh is not None:
        return 0.0 if counts[2] == 1 else 1.0 if counts[:2] == [2, 1] else NEVER
    if not counts[2]:
        return 2.0 if counts[0] == 3 else NEVER
    if max(counts) > 2:
        return NEVER
    if c.inversion == 2:
        return 0.0 if counts[2] == 2 else 3.0
    if c.diminished:
        return (1.5, 0.0, 0.6)[counts.index(2)]
    if c.inversion == 1:
        return (0.0, 0.4 if c.third_is_minor else 1.6, 0.3)[counts.index(2)]
    return (0.0, 1.6, 1.0)[counts.index(2)]


def _spacing(voicing: tuple[int, ...]) -> float:
    s, a, t, b = voicing
    return (
        1.5 * (s == a) + 0.8 * (a == t) + 0.8 * (t == b) + 0.15 * max(0, t - b - 12) + 0.1 * max(0, s - a - 7)
    )


def _change(old: Slot, new: Slot, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Cost [n, m] of moving from every spacing of one chord to every spacing of the next."""
    a, b = old.chord, new.chord
    boundary = old.ends is not None
    x, y = before[:, None, :].astype(np.int64), after[None, :, :].astype(np.int64)
    step = y - x
    size = np.abs(step)
    cost = (size * _INERTIA).sum(-1) + 2.0 * (size[..., 1:3] > 5).sum(-1) + 4.0 * (size[..., 1:3] > 7).sum(-1)
    harsh = np.isin(size, (6, 10, 11))  # the tritone and sevenths
    cost += harsh @ np.array([NEVER * (not boundary), 2.0, 2.0, 1.5])
    cost += NEVER * ((size > 12).any(-1) | (size[..., 1:3] > 9).any(-1))
    cost += 1.5 * (np.abs(np.sign(step).sum(-1)) == 4) - 0.4 * (
        np.sign(step[..., 0]) * np.sign(step[..., 3]) < 0
    )
    # A voice should not move past the previous note of its neighbour.
    cost += 1.0 * ((y[..., 1:] > x[..., :-1]) | (y[..., :-1] < x[..., 1:])).sum(-1)
    cost += NEVER * _parallels(x, y, step)
    if not boundary:
        cost += NEVER * _hidden(y, step) + _tendencies(a, b, x, y, step) + _chromatic(b, x, y)
    if b.mode == "minor":
        low, high = (b.tonic + 8) % 12, (b.tonic + 11) % 12
        wide = ((x % 12 == low) & (y % 12 == high)) | ((x % 12 == high) & (y % 12 == low))
        cost += NEVER * (wide & (size == 3)).any(-1)
    return cost


def _parallels(x: np.ndarray, y: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Whether two voices move in parallel fifths or octaves."""
    found = np.zeros(step.shape[:2], dtype=bool)
    for i, j in combinations(range(4), 2):
        here, there = (x[..., i] - x[..., j]) % 12, (y[..., i] - y[..., j]) % 12
        found |= (here == there) & ((there == 0) | (there == 7)) & (step[..., i] != 0) & (step[..., j] != 0)
    return found


def _hidden(y: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Whether the outer voices reach a fifth or octave in similar motion with a leap in the soprano."""
    there = (y[..., 0] - y[..., 3]) % 12
    return ((there == 0) | (there == 7)) & (step[..., 0] * step[..., 3] > 0) & (np.abs(step[..., 0]) > 2)


def _tendencies(a: Chord, b: Chord, x: np.ndarray, y: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Cost of leading tones that do not rise (an inner one may fall a third) and sevenths that do not fall or stay."""
    cost = np.zeros(step.shape[:2])
    if a.leading is not None and a.degree != b.degree and a.target in b.tones and a.leading not in b.tones:
        bad = (x % 12 == a.leading) & (step != 1)
        inner = bad[..., 1:3] & (step[..., 1:3] == -4)
        cost += NEVER * (bad.sum(-1) > inner.sum(-1)) + 1.5 * inner.sum(-1)
    if a.seventh is not None:
        falls = (step == -1) | (step == -2)
        stays = (step == 0) & (a.seventh in b.tones)
        cost += NEVER * ((x % 12 == a.seventh) & ~falls & ~stays).any(-1)
    return cost


def _chromatic(b: Chord, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cost where an altered tone lies in another voice than the tone that it replaces."""
    if b.altered is None:
        return np.zeros((x.shape[0], y.shape[1]))
    new, old = b.altered
    had = x % 12 == old
    return 4.0 * (had.any(-1) & ~(had & (y % 12 == new)).any(-1))
