"""Random pieces for tests of notes."""

from __future__ import annotations

import random

from multigen.modalities.roll import Key, Note, Piece


def random_piece(seed: int, *, steps: int = 4, parts: int = 4, unit: int = 1, bars: int = 6) -> Piece:
    """Notes and rests of any multiples of `unit` steps, across bar lines; a pick-up, and changes of tempo and key."""
    dice = random.Random(seed)
    beats = dice.choice([2, 3, 4])
    pickup = dice.randrange(beats) * steps
    length = pickup + bars * beats * steps
    found = []
    for _ in range(parts):
        now, notes = dice.randrange(0, 3 * unit, unit), []
        while now < length - unit:
            size = min(dice.randrange(unit, 7 * steps, unit), length - now)
            notes.append(Note(now, size, dice.randrange(30, 90)))
            now += size + dice.choice([0, 0, 0, unit, steps])
        found.append(tuple(notes))
    keys = [Key(0, dice.randrange(-7, 8), dice.choice(["major", "minor"]))]
    if dice.random() < 0.5 and bars > 2:
        keys.append(Key(pickup + beats * steps, (keys[0].fifths + 9) % 15 - 7, "major"))
    tempi = [(0, dice.randrange(200_000, 2_000_000))]
    if dice.random() < 0.5:
        tempi.append((pickup + 2 * steps, tempi[0][1] // 2 + 130_000))
    return Piece(
        length=length,
        parts=tuple(found),
        bars=tuple(range(pickup, length, beats * steps)),
        tempi=tuple(tempi),
        keys=tuple(keys),
        beat=4,
        programs=tuple(dice.randrange(128) for _ in range(parts)),
    )
