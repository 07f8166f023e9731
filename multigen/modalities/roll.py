"""The piano roll: pieces of music as tensors [1, T, P + 1, 128], and back.

    roll[0, t, p, k]   part p at step t: 1 where pitch k begins, 0 where it goes on, -1 where it is silent
    roll[0, t, P, :]   the conductor's row, which says at each step how the music is counted; its columns:

        BAR      1 where a bar begins, else -1
        TEMPO    microseconds a quarter / 1,500,000 - 1
        FIFTHS   the key's signature / 7: -7 (flats) to 7 (sharps)
        MODE     1 major, -1 minor, 0 unknown
        BEAT     what metres are counted in: -1 eighths, 0 quarters, 1 halves
        PROGRAM  and after it, for each part: General MIDI program / 63.5 - 1

Pitches are MIDI's. A part is a voice: it sounds one pitch at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
PITCHES = 128
BAR, TEMPO, FIFTHS, MODE, BEAT, PROGRAM = range(6)
MOST_PARTS = 15  # MIDI's channels without that of the drums
SLOWEST, FASTEST = 20.0, 480.0  # quarters a minute
_MICROSECONDS = 1_500_000.0
_BEATS = {8: -1.0, 4: 0.0, 2: 1.0}


class Note(NamedTuple):
    """A note of a part: when it begins and how long it is, in steps, and its MIDI pitch."""

    onset: int
    length: int
    pitch: int

    @property
    def end(self) -> int:
        """The step after its last one."""
        return self.onset + self.length


class Key(NamedTuple):
    """A key from a step on: -7 flats to 7 sharps, and "major", "minor" or "" where it is not known."""

    step: int
    fifths: int
    mode: str

    @property
    def tonic(self) -> int:
        """Pitch class of the tonic, 0 is C; of a major key where the mode is not known."""
        return (7 * self.fifths + (9 if self.mode == "minor" else 0)) % 12


@dataclass(frozen=True)
class Piece:
    """A piece of music on a grid of steps.

    length    steps
    parts     notes of each part, in time, one at a time
    bars      steps at which bars begin; before the first there may be a pick-up
    tempi     (step, microseconds a quarter), the first at step 0
    keys      the first at step 0
    beat      denominator of metres: 2, 4 or 8
    programs  General MIDI, 0 to 127, of each part
    """

    length: int
    parts: tuple[tuple[Note, ...], ...]
    bars: tuple[int, ...]
    tempi: tuple[tuple[int, int], ...]
    keys: tuple[Key, ...]
    beat: int
    programs: tuple[int, ...]

    def measures(self) -> list[tuple[int, int]]:
        """First step and the step after the last of each bar, with a pick-up before and what is left after them."""
        edges = sorted({0, *(b for b in self.bars if b < self.length), self.length})
        return list(pairwise(edges))

    def metre(self, usual: int) -> int:
        """Steps of a bar: the most frequent distance of two; `usual` where there are less than two bars."""
        gaps = [b - a for a, b in pairwise(self.bars)]
        return max(set(gaps), key=gaps.count) if gaps else usual


def metre_of(length: int, beat: int, steps: int) -> tuple[int, int]:
    """Beats and their denominator of a bar of so many steps, `steps` of them a quarter. `beat`: of the piece.

    Bars of whole quarters in a piece of eighths are counted in quarters, but for 6/8, 9/8 and 12/8. What is no whole
    number of beats is counted in shorter ones, what is more than 255, the most that MIDI can say, in longer ones.
    """
    whole = 4 * steps
    halves = 2 * length // steps if beat == 8 and 2 * length % steps == 0 else 1
    plain = halves % 2 == 0 and halves % 3 != 0
    for one in (*((4,) if plain else ()), beat, 8, 16, 32, 64, 2, 1):
        beats, rest = divmod(length * one, whole)
        if not rest and 0 < beats < 256:
            return beats, one
    return min(max(1, round(length * beat / whole)), 255), beat


def roll_of(piece: Piece) -> Tensor:
    """The roll [1, T, P + 1, 128] of a piece."""
    count = len(piece.parts)
    roll = torch.full((1, piece.length, count + 1, PITCHES), -1.0)
    for row, part in enumerate(piece.parts):
        for note in part:
            roll[0, note.onset : note.end, row, note.pitch] = 0
            roll[0, note.onset, row, note.pitch] = 1
    conductor = roll[0, :, count]
    conductor[[bar for bar in piece.bars if bar < piece.length], BAR] = 1
    for step, tempo in piece.tempi:
        conductor[step:, TEMPO] = tempo / _MICROSECONDS - 1
    for key in piece.keys:
        conductor[key.step :, FIFTHS] = key.fifths / 7
        conductor[key.step :, MODE] = {"major": 1.0, "minor": -1.0}.get(key.mode, 0.0)
    conductor[:, BEAT] = _BEATS[piece.beat]
    for row, program in enumerate(piece.programs):
        conductor[:, PROGRAM + row] = program / 63.5 - 1
    return roll


def piece_of(roll: Tensor) -> Piece:
    """The piece of a roll [1, T, P + 1, 128]; values between those that a roll has are read as the nearest.

    A part sounds its strongest pitch. What goes on without having begun begins where it is first heard.
    """
    roll = roll.detach().float().cpu()[0]
    conductor = roll[:, -1].clamp(-1, 1)
    tempi = ((conductor[:, TEMPO] + 1) * _MICROSECONDS).round().clamp(60e6 / FASTEST, 60e6 / SLOWEST)
    fifths, mode = (conductor[:, FIFTHS] * 7).round(), conductor[:, MODE].round()
    keys = [
        Key(step, int(sharps), {1: "major", -1: "minor"}.get(int(which), ""))
        for step, (sharps, which) in _changes(zip(fifths.tolist(), mode.tolist(), strict=True))
    ]
    beat = {v: k for k, v in _BEATS.items()}[float(conductor[:, BEAT].mean().round())]
    count = roll.shape[1] - 1
    programs = ((conductor[0, PROGRAM : PROGRAM + count] + 1) * 63.5).round().int().tolist()
    return Piece(
        length=len(roll),
        parts=tuple(_notes(roll[:, row]) for row in range(count)),
        bars=tuple((conductor[:, BAR] > 0).nonzero()[:, 0].tolist()),
        tempi=tuple((step, int(tempo)) for step, tempo in _changes(tempi.tolist())),
        keys=tuple(keys),
        beat=beat,
        programs=tuple(programs),
    )


def _notes(part: Tensor) -> tuple[Note, ...]:
    """The notes of a part, [T, 128]."""
    level, pitch = part.max(1)
    found: list[Note] = []
    for step, (value, k) in enumerate(zip(level.tolist(), pitch.tolist(), strict=True)):
        if value <= -0.5:
            continue
        last = found[-1] if found else None
        if value <= 0.5 and last is not None and last.end == step and last.pitch == k:
            found[-1] = last._replace(length=last.length + 1)
        else:
            found.append(Note(step, 1, k))
    return tuple(found)


def _changes(values: Iterable[T]) -> list[tuple[int, T]]:
    """Each step where a value differs from the one before, and the value."""
    found: list[tuple[int, T]] = []
    for step, value in enumerate(values):
        if not found or found[-1][1] != value:
            found.append((step, value))
    return found


def cut(roll: Tensor, start: int, end: int) -> Tensor:
    """A part of a roll [1, T, P + 1, 128]: what has begun before `start` begins there."""
    part = roll[:, start:end].clone()
    if part.shape[1]:
        first = part[:, 0, :-1]
        first[(first > -0.5) & (first <= 0.5)] = 1
    return part


def grown(roll: Tensor, length: int, usual: int) -> Tensor:
    """A roll with rests after it, to `length` steps, where bars, tempo and key go on. `usual`: steps of a bar."""
    more = length - roll.shape[1]
    if more <= 0:
        return roll[:, :length]
    rests = torch.full((1, more, *roll.shape[2:]), -1.0)
    rests[:, :, -1] = roll[:, -1:, -1]
    bars = (roll[0, :, -1, BAR] > 0).nonzero()[:, 0].tolist()
    metre = bars[-1] - bars[-2] if len(bars) > 1 else usual
    first = (bars[-1] if bars else -metre) + metre
    rests[0, :, -1, BAR] = -1
    places = [k - roll.shape[1] for k in range(first, length, metre) if k >= roll.shape[1]]
    rests[0, places, -1, BAR] = 1
    return torch.cat([roll.float(), rests], 1)


def voices(parts: Sequence[Sequence[Note]], count: int) -> tuple[tuple[tuple[Note, ...], ...], int]:
    """Notes as `count` voices, one pitch at a time, and how many notes were left out for want of a voice.

    Parts that are voices already stay as they are, if there are no more of them. All others are divided by height: at
    each onset the notes from the highest on take the voices that are free, in their order; where there are too many,
    inner ones are left out.
    """
    parts = [sorted(part) for part in parts if part]
    if len(parts) <= count and all(a.end <= b.onset for part in parts for a, b in pairwise(part)):
        empty: tuple[tuple[Note, ...], ...] = ((),) * (count - len(parts))
        return (*(tuple(part) for part in parts), *empty), 0
    onsets: dict[int, dict[int, Note]] = {}
    for note in (note for part in parts for note in part):
        same = onsets.setdefault(note.onset, {})
        if note.pitch not in same or same[note.pitch].length < note.length:
            same[note.pitch] = note
    rows: list[list[Note]] = [[] for _ in range(count)]
    lost = 0
    for step in sorted(onsets):
        chord = [onsets[step][pitch] for pitch in sorted(onsets[step], reverse=True)]
        while len(chord) > count:  # the outer voices say most of the music
            chord.pop(len(chord) - 2)
            lost += 1
        for row, note in _placed(chord, rows, step):
            if rows[row] and rows[row][-1].end > step:
                rows[row][-1] = rows[row][-1]._replace(length=step - rows[row][-1].onset)
            rows[row].append(note)
    return tuple(map(tuple, rows)), lost


def _placed(chord: Sequence[Note], rows: Sequence[Sequence[Note]], step: int) -> list[tuple[int, Note]]:
    """Which rows the notes of a chord take, from the highest on: those whose order and last pitches fit best.

    A row that is still sounding costs an octave: its note would be cut.
    """
    costs = [[0.0] + [1e9] * len(chord)]
    taken: list[list[bool]] = []
    for row in rows:
        last, before = (row[-1] if row else None), costs[-1]
        cost, takes = [before[0]], [False]
        for k, note in enumerate(chord, 1):
            far = 0.0 if last is None else abs(last.pitch - note.pitch) + 12.0 * (last.end > step)
            takes.append(before[k - 1] + far < before[k])
            cost.append(min(before[k - 1] + far, before[k]))
        costs.append(cost)
        taken.append(takes)
    found, k = [], len(chord)
    for row in range(len(rows) - 1, -1, -1):
        if k and taken[row][k]:
            found.append((row, chord[k - 1]))
            k -= 1
    return found[::-1]
