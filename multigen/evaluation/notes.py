"""What notes are like: histograms of intervals, chords, lengths and places, parallels, and bars as patterns.

Pieces are those of `multigen.modalities.roll`; times are in steps, `steps` of a quarter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np

from multigen.datasets.keys import KEYS, correlations
from multigen.modalities.general_midi import key_classes, key_name
from multigen.modalities.roll import Note, Piece

LEAP = 12  # semitones; larger steps of a voice count as these
PLACES = 12  # of a quarter, at which notes begin
LENGTHS = 16  # half octaves of length, from a twelfth of a quarter on
_PERFECT = (0, 7)  # semitones, without octaves: unisons, octaves and fifths
_DISSONANT = (1, 2, 6, 10, 11)  # semitones, without octaves: seconds, sevenths, tritones

Pattern = frozenset[
    tuple[int, int, int, int]
]  # part, onset and length within the bar, semitones above the lowest note


def weights(piece: Piece) -> np.ndarray:
    """How long each pitch class sounds, in steps: [12], C to B."""
    found = np.zeros(12)
    for part in piece.parts:
        for note in part:
            found[note.pitch % 12] += note.length
    return found


def heard_key(piece: Piece) -> str | None:
    """The name of the key that fits best, such as "G major"; None for a piece without notes."""
    found = weights(piece)
    return key_name(*KEYS[int(np.argmax(correlations(found)))]) if found.any() else None


def scale_share(piece: Piece, key: str) -> float:
    """Share of the sounding time on the scale of a key; NaN for a piece without notes."""
    found = weights(piece)
    return float(found[list(key_classes(key))].sum() / found.sum()) if found.any() else float("nan")


def pitch_classes(piece: Piece) -> np.ndarray:
    """How long each degree sounds, in steps, above the tonic of the key that is heard: [12]."""
    found = weights(piece)
    tonic = KEYS[int(np.argmax(correlations(found)))][0]
    return np.roll(found, -tonic)


def steps_of_voices(piece: Piece) -> np.ndarray:
    """How often voices move by each interval, from an octave down to an octave up: [25]."""
    found = np.zeros(2 * LEAP + 1)
    for part in piece.parts:
        for a, b in pairwise(part):
            found[max(-LEAP, min(LEAP, b.pitch - a.pitch)) + LEAP] += 1
    return found


def chords(piece: Piece, steps: int) -> np.ndarray:
    """How often each interval above the lowest voice sounds on the quarters, without octaves: [12]."""
    found = np.zeros(12)
    for pitches in columns(piece, steps):
        known = [p for p in pitches if p is not None]
        for pitch in known:
            found[(pitch - min(known)) % 12] += 1
        if known:
            found[0] -= 1  # the lowest voice itself
    return found


def places(piece: Piece, steps: int) -> np.ndarray:
    """How many notes begin at each twelfth of a quarter: [12]."""
    found = np.zeros(PLACES)
    for part in piece.parts:
        for note in part:
            found[note.onset % steps * PLACES // steps] += 1
    return found


def lengths(piece: Piece, steps: int) -> np.ndarray:
    """How many notes have each length, in half octaves from a twelfth of a quarter on: [16]."""
    found = np.zeros(LENGTHS)
    for part in piece.parts:
        for note in part:
            place = round(2 * np.log2(12 * note.length / steps))
            found[max(0, min(LENGTHS - 1, place))] += 1
    return found


def columns(piece: Piece, steps: int) -> list[list[int | None]]:
    """The pitch of each part on each quarter; None for a rest."""
    found: list[list[int | None]] = [[None] * len(piece.parts) for _ in range(0, piece.length, steps)]
    for row, part in enumerate(piece.parts):
        for note in part:
            for k in range(-(-note.onset // steps), -(-note.end // steps)):
                found[k][row] = note.pitch
    return found


def dissonance(piece: Piece, steps: int) -> float:
    """Share of the pairs of voices that sound a second, seventh or tritone on the quarters; NaN without pairs."""
    pairs = [(a - b) % 12 for column in columns(piece, steps) for a, b in combinations(_sounding(column), 2)]
    return sum(p in _DISSONANT for p in pairs) / len(pairs) if pairs else float("nan")


def parallels(piece: Piece, steps: int) -> float:
    """Share of the moves of two voices from quarter to quarter that are parallel fifths, octaves or unisons.

    Both voices must move, the same way, between two intervals of one kind. NaN where no two voices move.
    """
    moves = found = 0
    for before, after in pairwise(columns(piece, steps)):
        moved = [(a, b) for a, b in zip(before, after, strict=True) if None not in (a, b) and a != b]
        for (a, b), (c, d) in combinations(moved, 2):
            assert a is not None and b is not None and c is not None and d is not None
            moves += 1
            found += (a - c) % 12 in _PERFECT and (a - c) % 12 == (b - d) % 12 and (b > a) == (d > c)
    return found / moves if moves else float("nan")


def bars_of(piece: Piece) -> Iterator[Pattern]:
    """The notes of each whole bar, wherever it stands and however high: two bars are equal but for a transposition.

    Bars with less than four notes, and what is left over at either end, are left out.
    """
    usual = piece.metre(0)
    for start, end in piece.measures():
        if end - start != usual:
            continue
        notes = [
            (row, note) for row, part in enumerate(piece.parts) for note in part if start <= note.onset < end
        ]
        if len(notes) >= 4:
            yield frozenset(_place(row, note, start, min(n.pitch for _, n in notes)) for row, note in notes)


def _place(row: int, note: Note, start: int, lowest: int) -> tuple[int, int, int, int]:
    return row, note.onset - start, note.length, note.pitch - lowest


def _sounding(column: Sequence[int | None]) -> list[int]:
    return [pitch for pitch in column if pitch is not None]


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares that sum to 1; zeros stay."""
    return counts / max(float(counts.sum()), 1e-12)
