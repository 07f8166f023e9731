"""Scores of notation programs, MusicXML plain and compressed, as pieces: read by music21."""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import Any

from multigen.modalities.roll import FASTEST, SLOWEST, Key, Note, Piece, voices


def piece_of_score(content: bytes, steps: int, count: int) -> tuple[Piece, int, int]:
    """The piece of a score in `count` voices, on a grid of `steps` a quarter.

    Also how many notes were moved to the grid, and how many were left out: grace notes, and what has no voice. Repeats
    are not played twice. ValueError for what is no score.
    """
    from music21 import converter

    with warnings.catch_warnings():  # of what does not matter for the notes, such as page layouts
        warnings.simplefilter("ignore")
        try:
            read: Any = converter.parseData(content, format="musicxml")
        except Exception as error:  # its readers raise whatever goes wrong in them
            raise ValueError(f"not a readable score ({type(error).__name__}: {error})") from error
        return piece_of_stream(read, steps, count)


def piece_of_stream(score: Any, steps: int, count: int) -> tuple[Piece, int, int]:
    """As `piece_of_score`, of a score that music21 has read."""
    stream = score.toSoundingPitch().stripTies()
    grid = _Grid(steps)
    parts = list(stream.parts)
    if not parts:
        raise ValueError("the score has no parts")
    notes = [grid.notes(part) for part in parts]
    found, lost = voices(notes, count)
    bars = sorted({grid.step(bar.offset) for bar in parts[0].getElementsByClass("Measure")})
    end = grid.step(max(part.highestTime for part in parts))
    length = max([end, 1, *(note.end for part in found for note in part)])
    metres = [sign for _, sign in _places(parts[0], "TimeSignature")]
    beat = max((sign.denominator for sign in metres), default=4)
    programs = [_program(part) for part, its in zip(parts, notes, strict=True) if its] or [0]
    piece = Piece(
        length=length,
        parts=found,
        bars=_begun(bars, length, metres, steps),
        tempi=_tempi(score, grid),
        keys=_keys(parts[0], grid),
        beat=beat if beat in (2, 4, 8) else 8 if beat > 8 else 4,
        programs=tuple((programs + programs[-1:] * count)[:count]),
    )
    return piece, grid.moved, lost + grid.graces


class _Grid:
    """Times of a score, in quarters, as steps."""

    def __init__(self, steps: int) -> None:
        self.steps, self.moved, self.graces = steps, 0, 0

    def step(self, quarters: float | Fraction) -> int:
        """The nearest step."""
        return round(float(quarters) * self.steps)

    def notes(self, part: Any) -> list[Note]:
        """The notes of a part, without grace notes."""
        found = []
        for element in part.flatten().notes:
            onset, length = Fraction(element.offset), Fraction(element.quarterLength)
            if length <= 0 or not element.pitches:
                self.graces += 1
                continue
            first, last = self.step(onset), self.step(onset + length)
            self.moved += first != onset * self.steps or last != (onset + length) * self.steps
            found += [Note(first, max(1, last - first), int(pitch.midi)) for pitch in element.pitches]
        return found


def _places(part: Any, kind: str) -> list[tuple[float, Any]]:
    return [(float(e.getOffsetInHierarchy(part)), e) for e in part.recurse().getElementsByClass(kind)]


def _begun(bars: list[int], length: int, metres: list[Any], steps: int) -> tuple[int, ...]:
    """The bars, without a pick-up: a first one that is shorter than its metre says."""
    bars = [bar for bar in bars if bar < length]
    if len(bars) > 1 and metres and bars[1] - bars[0] < metres[0].barDuration.quarterLength * steps:
        return tuple(bars[1:])
    return tuple(bars)


def _tempi(score: Any, grid: _Grid) -> tuple[tuple[int, int], ...]:
    """(step, microseconds a quarter); 120 quarters a minute where the score does not say."""
    found = {0: 500_000}
    for mark in score.recurse().getElementsByClass("MetronomeMark"):
        bpm = mark.getQuarterBPM()
        if bpm:
            step = grid.step(mark.getOffsetInHierarchy(score))
            found[step] = round(60e6 / min(max(bpm, SLOWEST), FASTEST))
    return tuple(sorted(found.items()))


def _keys(part: Any, grid: _Grid) -> tuple[Key, ...]:
    """The signatures, with the mode where it is said."""
    found = {0: Key(0, 0, "")}
    for offset, sign in _places(part, "KeySignature"):
        step = grid.step(offset)
        mode = getattr(sign, "mode", None)  # a `Key` knows it, a plain signature does not
        found[step] = Key(step, max(-7, min(7, sign.sharps)), mode if mode in ("major", "minor") else "")
    return tuple(found[step] for step in sorted(found))


def _program(part: Any) -> int:
    program = getattr(part.getInstrument(), "midiProgram", None)  # not every instrument of music21 has one
    return program if isinstance(program, int) and 0 <= program < 128 else 0
