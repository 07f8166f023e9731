"""Scores as numbers: read by music21, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from multigen.storage import files

TAIL = 1.5  # seconds after the last note, for it to die away
BREATH = 0.25  # share of a note under a fermata that is rest, so that phrases end as when sung


@dataclass(frozen=True)
class Score:
    """A piece as numbers.

    tonic  pitch class, 0 is C
    mode   "major" or "minor"
    parts  per voice, notes of (onset, length) in quarters and MIDI pitch
    metre  quarters a bar; 0 if unknown
    """

    tonic: int
    mode: str
    parts: tuple[tuple[tuple[float, float, int], ...], ...]
    metre: int = 0


def load(score: Path, notes: Path) -> Score:
    """The score from its cached JSON; parsed and cached if it is not there."""
    if notes.is_file():
        found = json.loads(notes.read_text(encoding="utf-8"))
        parts = tuple(tuple((on, length, pitch) for on, length, pitch in part) for part in found["parts"])
        return Score(found["tonic"], found["mode"], parts, found.get("metre", 0))
    parsed = parse(score)
    save(parsed, notes)
    return parsed


def save(score: Score, notes: Path) -> None:
    """Write the JSON that `load` reads."""
    files.write_text(notes, json.dumps(asdict(score), separators=(",", ":")))


def parse(score: Path) -> Score:
    """Read any format that music21 reads. The key is found by correlation of pitch durations (Krumhansl 1990)."""
    from music21 import converter, expressions

    read: Any = converter.parse(score, forceSource=True, storePickle=False)
    stream = read.stripTies()
    key = stream.analyze("key")
    parts = []
    for part in stream.parts:
        notes = []
        for note in part.flatten().notes:
            length = float(note.quarterLength)
            if length <= 0:  # a grace note
                continue
            if any(isinstance(e, expressions.Fermata) for e in note.expressions):
                length *= 1 - BREATH
            notes += [
                (round(float(note.offset), 4), round(length, 4), int(pitch.midi)) for pitch in note.pitches
            ]
        parts.append(tuple(sorted(notes)))
    return Score(key.tonic.pitchClass, key.mode, tuple(part for part in parts if part))
