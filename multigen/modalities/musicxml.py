"""Pieces as MusicXML 4.0 (W3C 2021), a staff for each part, as notation programs read it; read back by music21."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from statistics import mean
from xml.etree import ElementTree as Xml

from multigen.modalities.general_midi import PROGRAMS
from multigen.modalities.roll import Note, Piece, metre_of

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 '
    'Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)
_TYPES = ("breve", "whole", "half", "quarter", "eighth", "16th", "32nd", "64th")  # halves of two whole notes
_NAMES = "FCGDAEB"  # the line of fifths, from one fifth below C


def musicxml_of(piece: Piece, steps: int, names: Sequence[str], title: str = "") -> bytes:
    """The file of a piece. `steps`: of a quarter, one of those that `Notes` takes. `names`: of the parts."""
    root = Xml.Element("score-partwise", version="4.0")
    if title:
        _text(Xml.SubElement(root, "work"), "work-title", title)
    listed = Xml.SubElement(root, "part-list")
    for row, (name, program) in enumerate(zip(names, piece.programs, strict=True), 1):
        part = Xml.SubElement(listed, "score-part", id=f"P{row}")
        _text(part, "part-name", name)
        played = Xml.SubElement(part, "score-instrument", id=f"P{row}-I1")
        _text(played, "instrument-name", PROGRAMS[program])
        midi = Xml.SubElement(part, "midi-instrument", id=f"P{row}-I1")
        _text(midi, "midi-channel", row + (row > 9))
        _text(midi, "midi-program", program + 1)
    for row, part in enumerate(piece.parts, 1):
        _Staff(piece, part, steps, first=row == 1).into(Xml.SubElement(root, "part", id=f"P{row}"))
    Xml.indent(root, " ")
    return (_HEAD + Xml.tostring(root, encoding="unicode") + "\n").encode()


class _Staff:
    """One part, bar by bar. `first`: it also bears the tempo."""

    def __init__(self, piece: Piece, notes: Sequence[Note], steps: int, *, first: bool) -> None:
        self.piece, self.notes, self.steps, self.first = piece, notes, steps, first
        self.length, self.metre = 0, (0, 0)  # of a bar: steps, and how they are counted

    def into(self, part: Xml.Element) -> None:
        """Write the bars into the part's element."""
        measures = self.piece.measures()
        pickup = measures[0][0] not in self.piece.bars
        for number, (start, end) in enumerate(measures, 0 if pickup else 1):
            measure = Xml.SubElement(part, "measure", number=str(number))
            if number == 0:
                measure.set("implicit", "yes")
            self._attributes(measure, measures, start, end)
            if self.first:
                for step, tempo in self.piece.tempi:
                    if start <= step < end:
                        _tempo(measure, 60e6 / tempo, step - start)
            self._bar(measure, start, end)
            if end == measures[-1][1]:
                _text(Xml.SubElement(measure, "barline", location="right"), "bar-style", "light-heavy")

    def _attributes(
        self, measure: Xml.Element, measures: Sequence[tuple[int, int]], start: int, end: int
    ) -> None:
        """What changes with this bar: at the first one, all."""
        self.length = self._length(measures, start, end)
        metre = metre_of(self.length, self.piece.beat, self.steps)
        key = next((key for key in reversed(self.piece.keys) if start <= key.step < end), None)
        begins = start == 0
        if not begins and key is None and metre == self.metre:
            return
        said = Xml.SubElement(measure, "attributes")
        if begins:
            _text(said, "divisions", self.steps)
        if key is not None:
            signature = Xml.SubElement(said, "key")
            _text(signature, "fifths", key.fifths)
            if key.mode:
                _text(signature, "mode", key.mode)
        if metre != self.metre:
            time = Xml.SubElement(said, "time")
            _text(time, "beats", metre[0])
            _text(time, "beat-type", metre[1])
            self.metre = metre
        if begins:
            clef = Xml.SubElement(said, "clef")
            sign, line, octave = _clef(self.notes)
            _text(clef, "sign", sign)
            _text(clef, "line", line)
            if octave:
                _text(clef, "clef-octave-change", octave)

    def _length(self, measures: Sequence[tuple[int, int]], start: int, end: int) -> int:
        """Steps of the bar's metre: a pick-up has that of the bar after it, what is left at the end that before it."""
        usual = self.piece.metre(4 * self.steps)
        length = end - start
        if start == 0 and 0 not in self.piece.bars:
            length = measures[1][1] - measures[1][0] if len(measures) > 2 else usual
        elif end == self.piece.length and length < usual:
            length = self.length or usual
        return length

    def _bar(self, measure: Xml.Element, start: int, end: int) -> None:
        """Notes and rests of a bar; notes that go beyond it are tied."""
        now = start
        for note in self.notes:
            if note.end <= start or note.onset >= end:
                continue
            a, b = max(note.onset, start), min(note.end, end)
            if a > now:
                self._symbols(measure, start, now, a, None)
            self._symbols(measure, start, a, b, note)
            now = b
        if now == start:
            rest = Xml.SubElement(measure, "note")
            Xml.SubElement(rest, "rest", measure="yes")
            _text(rest, "duration", end - start)
            _text(rest, "voice", 1)
        elif now < end:
            self._symbols(measure, start, now, end, None)

    def _symbols(self, measure: Xml.Element, bar: int, start: int, end: int, note: Note | None) -> None:
        """A note, or a rest, from one step to another, as one symbol or as several that are tied."""
        now = start
        for length in split(start - bar, end - start, self.steps):
            element = Xml.SubElement(measure, "note")
            if note is None:
                Xml.SubElement(element, "rest")
            else:
                self._pitch(element, note)
            _text(element, "duration", length)
            ties = () if note is None else _ties(now > note.onset, now + length < note.end)
            for kind in ties:
                Xml.SubElement(element, "tie", type=kind)
            _text(element, "voice", 1)
            symbol, dots, tuplet = values(self.steps)[length]
            _text(element, "type", symbol)
            for _ in range(dots):
                Xml.SubElement(element, "dot")
            if tuplet:
                time = Xml.SubElement(element, "time-modification")
                _text(time, "actual-notes", 3)
                _text(time, "normal-notes", 2)
            if ties:
                notations = Xml.SubElement(element, "notations")
                for kind in ties:
                    Xml.SubElement(notations, "tied", type=kind)
            now += length

    def _pitch(self, element: Xml.Element, note: Note) -> None:
        """All symbols of a note that is tied have the name that it begins with."""
        key = next(key for key in reversed(self.piece.keys) if key.step <= note.onset)
        name, alter, octave = spelled(note.pitch, key.fifths, key.mode)
        said = Xml.SubElement(element, "pitch")
        _text(said, "step", name)
        if alter:
            _text(said, "alter", alter)
        _text(said, "octave", octave)


def spelled(pitch: int, fifths: int, mode: str = "") -> tuple[str, int, int]:
    """Name, sharps (+) or flats (-) and octave of a MIDI pitch in a key signature of -7 to 7 sharps.

    Of the line of fifths it takes twelve notes: those of the signature, two or three flatter ones, and on the sharp
    side leading notes, that of the dominant too where the key is minor.
    """
    lowest = fifths - (2 if mode == "minor" else 3)
    place = next(f for f in range(lowest, lowest + 12) if 7 * f % 12 == pitch % 12)
    name, alter = _NAMES[(place + 1) % 7], (place + 1) // 7
    natural = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[name]
    return name, alter, (pitch - alter - natural) // 12 - 1


@cache
def values(steps: int) -> dict[int, tuple[str, int, bool]]:
    """The lengths in steps that one symbol has: its type, dots, and whether three stand for two.

    Plain values before dotted ones before triplets.
    """
    found: dict[int, tuple[str, int, bool]] = {}
    for dots, triplet, factor in (
        (0, False, Fraction(1)),
        (1, False, Fraction(3, 2)),
        (0, True, Fraction(2, 3)),
    ):
        for k, name in enumerate(_TYPES):
            length = Fraction(8, 2**k) * factor * steps
            if length.denominator == 1:
                found.setdefault(int(length), (name, dots, triplet))
    return found


def split(offset: int, length: int, steps: int) -> list[int]:
    """A length as symbols, where it begins `offset` steps after the bar line: first to the next beat, then the longest.

    A length that one symbol has stays whole, unless it hides more than one beat from off the beat.
    """
    known, found = values(steps), []
    while length:
        to_beat = -offset % steps
        whole = length in known and not (to_beat and length > 2 * steps)
        limit = length if whole or not to_beat else min(length, to_beat)
        symbol = max(n for n in known if n <= limit)
        found.append(symbol)
        offset, length = offset + symbol, length - symbol
    return found


def _clef(notes: Sequence[Note]) -> tuple[str, int, int]:
    """Sign, line and octaves of a clef in which the notes need few ledger lines."""
    height = mean(note.pitch for note in notes) if notes else 67.0
    return ("G", 2, 0) if height >= 61 else ("G", 2, -1) if height >= 54 else ("F", 4, 0)


def _tempo(measure: Xml.Element, bpm: float, offset: int) -> None:
    direction = Xml.SubElement(measure, "direction", placement="above")
    mark = Xml.SubElement(Xml.SubElement(direction, "direction-type"), "metronome")
    _text(mark, "beat-unit", "quarter")
    _text(mark, "per-minute", f"{bpm:.6g}")
    if offset:
        _text(direction, "offset", offset)
    Xml.SubElement(direction, "sound", tempo=f"{bpm:.9g}")


def _ties(before: bool, after: bool) -> tuple[str, ...]:
    return ("stop",) * before + ("start",) * after


def _text(parent: Xml.Element, name: str, value: object) -> None:
    Xml.SubElement(parent, name).text = str(value)
