"""Non-chord tones: suspensions, passing notes and neighbour notes, in eighths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np

from multigen.datasets.composer.chords import Chord, scale
from multigen.datasets.composer.dice import Dice
from multigen.datasets.composer.melody import Slot

Notes = list[list[tuple[float, float, int]]]  # per voice: onset, length in quarters, pitch
_SWEET = (3, 4, 8, 9)  # allowed intervals between two simultaneous figures


class _Texture:
    """Pitches [n, 4, 2]: the note of each voice in the first and in the second half of each chord."""

    def __init__(self, pitches: np.ndarray, slots: Sequence[Slot]) -> None:
        self.slots = slots
        self.pitches = np.stack([pitches, pitches], -1).astype(int)
        self.figured = np.zeros(pitches.shape, dtype=bool)
        self.held = np.zeros(pitches.shape, dtype=bool)  # the voice is tied over from the previous chord

    def fits(self, t: int) -> bool:
        """Whether the chords t - 1 to t + 1 have no crossings, gaps, clashes or parallel perfect intervals."""
        times = [(k, half) for k in range(max(0, t - 1), min(len(self.slots), t + 2)) for half in (0, 1)]
        columns = [self.pitches[k, :, half] for k, half in times]
        if any((np.diff(column) > 0).any() or (np.diff(column[:3]) < -12).any() for column in columns):
            return False
        if any(_clash(self.pitches[t, :, half]) for half in (0, 1)):
            return False
        pairs = [*pairwise(columns), *zip(columns[::2], columns[2::2], strict=False)]
        return not any(_parallel(a, b) for a, b in pairs)


def _clash(column: np.ndarray) -> bool:
    return any(abs(int(a) - int(b)) in (1, 13) for a, b in combinations(column, 2))


def _parallel(a: np.ndarray, b: np.ndarray) -> bool:
    return any(
        (a[i] - a[j]) % 12 == (b[i] - b[j]) % 12
        and (a[i] - a[j]) % 12 in (0, 7)
        and a[i] != b[i]
        and a[j] != b[j]
        for i, j in combinations(range(4), 2)
    )


def figured(slots: Sequence[Slot], pitches: np.ndarray, breath: float, dice: Dice) -> Notes:
    """The notes of four voices, with figures. `breath` is the share of a phrase's last note that is rest."""
    texture = _Texture(pitches, slots)
    lively = dice.between(0.4, 0.85)
    for t in range(1, len(slots)):
        if slots[t - 1].ends is None:
            _suspend(texture, t, dice)
    for t in range(len(slots) - 1):
        if slots[t].ends is None:
            for voice in dice.order(4):
                if texture.figured[t].sum() < 2 and dice.chance(lively):
                    _ornament(texture, t, voice, dice)
    return _notes(texture, breath)


def melody(
    slots: Sequence[Slot], pitches: np.ndarray, breath: float, dice: Dice
) -> list[tuple[float, float, int]]:
    """The notes of the first voice alone, with figures over plain chords. `breath` as in `figured`."""
    texture = _Texture(pitches, slots)
    lively = dice.between(0.6, 0.95)
    for t in range(len(slots) - 1):
        if slots[t].ends is None and dice.chance(lively):
            _ornament(texture, t, 0, dice)
    return _notes(texture, breath)[0]


def _suspend(texture: _Texture, t: int, dice: Dice) -> None:
    """Add a suspension in a voice that falls a step: 4-3, mostly at cadences, or sometimes 9-8 or 7-6."""
    slots, pitches = texture.slots, texture.pitches
    close = t + 1 < len(slots) and slots[t + 1].ends is not None
    for voice in range(3):
        held, now, bass = int(pitches[t - 1, voice, 1]), int(pitches[t, voice, 0]), int(pitches[t, 3, 0])
        over = (held - bass) % 12
        if held - now not in (1, 2) or held % 12 in slots[t].chord.tones:
            continue
        share = {5: 0.75 if close else 0.25, 2: 0.1, 1: 0.1, 10: 0.2, 11: 0.2}.get(over, 0.0)
        share *= over != 5 or (now - bass) % 12 in (3, 4)
        if not dice.chance(share):
            continue
        pitches[t, voice, 0] = held
        if texture.fits(t) and not _doubled(pitches[t, :, 1], voice):
            texture.figured[t, voice] = texture.held[t, voice] = True
            return
        pitches[t, voice, 0] = now


def _doubled(column: np.ndarray, voice: int) -> bool:
    """Whether another upper voice has the note that a suspension resolves to."""
    return any(column[v] % 12 == column[voice] % 12 for v in range(3) if v != voice)


def _ornament(texture: _Texture, t: int, voice: int, dice: Dice) -> None:
    """Add a passing note where the voice moves by a third, or sometimes a neighbour note where it stays."""
    pitches, slots = texture.pitches, texture.slots
    now, after = int(pitches[t, voice, 0]), int(pitches[t + 1, voice, 0])
    if texture.figured[t, voice] or texture.held[t + 1, voice]:
        return
    step = after - now
    if abs(step) in (3, 4):
        own = _ladder(slots[t].chord, slots[t + 1].chord, step)
        choices = [p for p in range(min(now, after) + 1, max(now, after)) if p % 12 in own]
    elif step == 0 and dice.chance(0.35):
        side = -1 if dice.chance(0.6) else 1
        own = _ladder(slots[t].chord, slots[t + 1].chord, side)
        choices = [p for p in (now + side, now + 2 * side) if p % 12 in own][:1]
    else:
        return
    choices = [p for p in choices if abs(p - now) <= 2 and abs(after - p) <= 2]
    others = [int(pitches[t, v, 1]) for v in range(4) if texture.figured[t, v]]
    choices = [p for p in choices if all(abs(p - o) % 12 in _SWEET for o in others)]
    if not choices:
        return
    pitches[t, voice, 1] = choices[0]
    if texture.fits(t):
        texture.figured[t, voice] = True
    else:
        pitches[t, voice, 1] = now


def _ladder(a: Chord, b: Chord, direction: int) -> set[int]:
    """The scale between chords a and b: the key's with the tones that the chords alter; melodic minor when rising."""
    steps = set(scale(a.tonic, a.mode))
    for c in (a, b):
        if c.altered is not None:
            steps = (steps - {c.altered[1]}) | {c.altered[0]}
    if a.mode == "minor" and "/" not in a.degree + b.degree:
        sixth, seventh = (a.tonic + 8) % 12, (a.tonic + 11) % 12
        if seventh in a.tones or seventh in b.tones:
            steps = (steps - {(seventh - 1) % 12}) | {seventh}
            if direction > 0 and sixth not in a.tones and sixth not in b.tones:
                steps = (steps - {sixth}) | {(sixth + 1) % 12}
    return steps


def _notes(texture: _Texture, breath: float) -> Notes:
    voices: Notes = []
    for voice in range(4):
        notes: list[tuple[float, float, int]] = []
        for t, slot in enumerate(texture.slots):
            first, second = (int(p) for p in texture.pitches[t, voice])
            half = slot.length / 2 if texture.held[t, voice] else slot.length - 0.5
            end = slot.onset + slot.length * (1 - breath * (slot.ends is not None))
            if texture.held[t, voice]:  # tied to the note before
                onset, length, pitch = notes.pop()
                notes.append((onset, length + half, pitch))
                notes.append((slot.onset + half, end - slot.onset - half, second))
            elif first != second:
                notes += [(slot.onset, half, first), (slot.onset + half, end - slot.onset - half, second)]
            else:
                notes.append((slot.onset, end - slot.onset, first))
        voices.append(notes)
    return voices
