"""Scores of notation programs, MusicXML plain and compressed, as pieces: read by music21."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree as Xml

from multigen.modalities.roll import FASTEST, SLOWEST, Key, Note, Piece
from multigen.modalities.voicing import Heard, arranged, gridded

_ZIP = b"PK\x03\x04"
_CONTAINER = "META-INF/container.xml"
MOST_BYTES = 16 * 1024**2


def piece_of_score(
    content: bytes, steps: int, count: int, *, max_bytes: int = MOST_BYTES
) -> tuple[Piece, int, int]:
    """The piece of a score in `count` voices, on a grid of `steps` a quarter.

    Also how many notes were moved to the grid, and how many were left out: grace notes, and what has no voice. Repeats
    are not played twice. ValueError for what is no score, or has more than `max_bytes` when it is unpacked.
    """
    if content.startswith(_ZIP):
        content = _unpacked(content, max_bytes)
    from music21 import converter

    with warnings.catch_warnings():  # of what does not matter for the notes, such as page layouts
        warnings.simplefilter("ignore")
        try:
            read: Any = converter.parseData(content, format="musicxml")
        except Exception as error:  # its readers raise whatever goes wrong in them
            raise ValueError(f"not a readable score ({type(error).__name__}: {error})") from error
        return piece_of_stream(read, steps, count)


def _unpacked(content: bytes, max_bytes: int) -> bytes:
    """The score in a compressed one, the first that its container names (MusicXML 4.0, "Compressed .mxl files")."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            container = Xml.fromstring(_member(packed, _CONTAINER, max_bytes))
            named = (element.get("full-path") for element in container.iter() if _tag(element) == "rootfile")
            path = next((path for path in named if path), None)
            if path is None:
                raise ValueError(f"{_CONTAINER} names no score")
            return _member(packed, path, max_bytes)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, Xml.ParseError) as error:
        raise ValueError(f"not a readable compressed score ({error})") from error
    except (
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
    ) as error:  # encrypted, or packed by another method
        raise ValueError(f"not a readable compressed score ({error or type(error).__name__})") from error


def _tag(element: Xml.Element) -> str:
    return element.tag.rpartition("}")[2]


def _member(packed: zipfile.ZipFile, path: str, max_bytes: int) -> bytes:
    """A member of an archive, never more than `max_bytes`, whatever the archive says of its size."""
    try:
        info = packed.getinfo(path)
    except KeyError:
        raise ValueError(f"not a readable compressed score (it has no {path})") from None
    if info.file_size <= max_bytes:
        with packed.open(info) as file:
            content = file.read(max_bytes + 1)
        if len(content) <= max_bytes:
            return content
    raise ValueError(
        f"{path} in it has {info.file_size:,} bytes when it is unpacked; the limit max_bytes is {max_bytes:,}"
    )


def piece_of_stream(score: Any, steps: int, count: int) -> tuple[Piece, int, int]:
    """As `piece_of_score`, of a score that music21 has read."""
    stream = score.toSoundingPitch().stripTies()
    grid = _Grid(steps)
    parts = list(stream.parts)
    if not parts:
        raise ValueError("the score has no parts")
    found, programs, lost = arranged([(grid.notes(part), _program(part)) for part in parts], count)
    bars = sorted({grid.step(bar.offset) for bar in parts[0].getElementsByClass("Measure")})
    end = grid.step(max(part.highestTime for part in parts))
    length = max([end, 1, *(note.end for part in found for note in part)])
    metres = [sign for _, sign in _places(parts[0], "TimeSignature")]
    beat = max((sign.denominator for sign in metres), default=4)
    piece = Piece(
        length=length,
        parts=found,
        bars=_begun(bars, length, metres, steps),
        tempi=_tempi(score, grid),
        keys=_keys(parts[0], grid),
        beat=beat if beat in (2, 4, 8) else 8 if beat > 8 else 4,
        programs=programs,
    )
    return piece, grid.moved, lost + grid.lost


class _Grid:
    """Times of a score, in quarters, as steps."""

    def __init__(self, steps: int) -> None:
        self.steps, self.moved, self.lost = steps, 0, 0

    def step(self, quarters: float | Fraction) -> int:
        """The nearest step."""
        return round(float(quarters) * self.steps)

    def notes(self, part: Any) -> list[Note]:
        """The notes of a part, without grace notes."""
        found: list[Heard] = []
        for element in part.flatten().notes:
            onset, length = Fraction(element.offset), Fraction(element.quarterLength)
            if length <= 0 or not element.pitches:
                self.lost += 1
                continue
            first, last = self.step(onset), self.step(onset + length)
            self.moved += first != onset * self.steps or last != (onset + length) * self.steps
            start, end = float(onset * self.steps), float((onset + length) * self.steps)
            found += [Heard(start, end, int(pitch.midi)) for pitch in element.pitches]
        notes, lost = gridded(found)
        self.lost += lost
        return notes


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
