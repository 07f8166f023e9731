"""Parts of files as voices of a roll: on the grid, one note at a time, each in its row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from multigen.modalities.roll import Note, voices


class Heard(NamedTuple):
    """A note as a file has it: start and end in steps, not yet on the grid, and its MIDI pitch."""

    start: float
    end: float
    pitch: int


class _Placed:
    def __init__(self, heard: Heard, note: Note) -> None:
        self.heard, self.note, self.gone = heard, note, False


def gridded(heard: Iterable[Heard]) -> tuple[list[Note], int]:
    """The notes of a part on the grid, and how many were left out.

    Notes that meet on the grid alone are made to follow each other: of those on one step the longest stays, others are
    cut where the next begins. Those that sound together, for more than half a step or half of the shorter one, stay.
    """
    found: list[_Placed] = []
    active: list[_Placed] = []
    lost = 0
    for one in sorted(heard):
        first = round(one.start)
        new = _Placed(one, Note(first, max(1, round(one.end) - first), one.pitch))
        for other in active:
            if other.note.end <= first or _together(other.heard, one):
                continue
            if other.note.onset < first:
                other.note = other.note._replace(length=first - other.note.onset)
            else:
                shorter = other if _length(other) < _length(new) else new
                shorter.gone = True
                lost += 1
        active = [other for other in active if not other.gone and other.note.end > first]
        if not new.gone:
            active.append(new)
        found.append(new)
    return [placed.note for placed in found if not placed.gone], lost


def _length(placed: _Placed) -> float:
    return placed.heard.end - placed.heard.start


def _together(a: Heard, b: Heard) -> bool:
    common = min(a.end, b.end) - max(a.start, b.start)
    return common > min(0.5, (a.end - a.start) / 2, (b.end - b.start) / 2)


def arranged(
    parts: Sequence[tuple[Sequence[Note], int]], count: int
) -> tuple[tuple[tuple[Note, ...], ...], tuple[int, ...], int]:
    """`count` voices of parts with their programs, the program of each, and how many notes were left out.

    Where there are no more than `count` parts and each sounds one pitch at a time, empty ones have their place, too.
    """
    single = all(a.end <= b.onset for notes, _ in parts for a, b in pairwise(sorted(notes)))
    sounding = [(notes, program) for notes, program in parts if notes]
    chosen = list(parts) if single and len(parts) <= count else sounding
    programs = [program for _, program in chosen] or [0]
    programs = tuple((programs + programs[-1:] * count)[:count])
    if chosen is sounding or not single:
        found, lost = voices([notes for notes, _ in sounding], count)
        return found, programs, lost
    rows = [tuple(sorted(notes)) for notes, _ in chosen]
    return (*rows, *[()] * (count - len(rows))), programs, 0
