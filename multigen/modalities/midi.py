"""Pieces as Standard MIDI Files (MIDI Manufacturers Association 1996, RP-001), through mido.

Files of format 1: a track with tempo, metre and key, then a track for each part. Times are whole steps of the grid.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multigen.modalities.roll import FASTEST, SLOWEST, Key, Note, Piece, metre_of
from multigen.modalities.voicing import Heard, arranged, gridded

if TYPE_CHECKING:
    import mido

TICKS = 480  # a quarter
_VELOCITY = 88
_DRUMS = 9  # a channel without pitches
_MAJOR = (
    "Cb",
    "Gb",
    "Db",
    "Ab",
    "Eb",
    "Bb",
    "F",
    "C",
    "G",
    "D",
    "A",
    "E",
    "B",
    "F#",
    "C#",
)  # 7 flats to 7 sharps
_MINOR = (
    "Abm", "Ebm", "Bbm", "Fm", "Cm", "Gm", "Dm", "Am", "Em", "Bm", "F#m", "C#m", "G#m", "D#m", "A#m",
)  # fmt: skip


def midi_of(piece: Piece, steps: int, names: Sequence[str] = (), *, tail: float = 0.0) -> bytes:
    """The file of a piece.

    steps  of a quarter; it divides 480
    names  of the parts
    tail   seconds after the last step, for notes to die away
    """
    import mido

    tick = TICKS // steps
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    events = [(step * tick, 0, mido.MetaMessage("set_tempo", tempo=tempo)) for step, tempo in piece.tempi]
    for key in piece.keys:
        if not (key.mode or key.fifths or key.step):
            continue  # nothing is known
        name = (_MINOR if key.mode == "minor" else _MAJOR)[key.fifths + 7]
        events.append((key.step * tick, 1, mido.MetaMessage("key_signature", key=name)))
    for step, (beats, beat) in _metres(piece, steps):
        sign = mido.MetaMessage("time_signature", numerator=beats, denominator=beat)
        events.append((step * tick, 2, sign))
    end = piece.length * tick + round(tail * 1e6 / piece.tempi[-1][1] * TICKS)
    file.tracks.append(_track(events, end))
    for row, part in enumerate(piece.parts):
        channel = row + (row >= _DRUMS)
        name = names[row] if row < len(names) else f"part {row + 1}"
        events = [
            (0, 0, mido.MetaMessage("track_name", name=name)),
            (0, 0, mido.Message("program_change", channel=channel, program=piece.programs[row])),
        ]
        for note in part:
            on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=_VELOCITY)
            off = mido.Message("note_off", channel=channel, note=note.pitch, velocity=0)
            events += [(note.onset * tick, 2, on), (note.end * tick, 1, off)]
        file.tracks.append(_track(events, end))
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def _track(events: Sequence[tuple[int, int, mido.Message | mido.MetaMessage]], end: int) -> mido.MidiTrack:
    """A track of (tick, order within a tick, message), which ends at a tick."""
    import mido

    track, now = mido.MidiTrack(), 0
    for tick, _, event in sorted(events, key=lambda e: e[:2]):
        track.append(event.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=end - now))
    return track


def _metres(piece: Piece, steps: int) -> list[tuple[int, tuple[int, int]]]:
    """(step, (beats a bar, denominator)) wherever the metre changes; what is left after the last bar has its metre."""
    found: list[tuple[int, tuple[int, int]]] = []
    usual = 0  # steps of a bar
    measures = piece.measures()
    for k, (start, end) in enumerate(measures):
        last = k == len(measures) - 1 and k > 0
        if end - start != usual and not (last and end - start < usual):
            usual = end - start
            found.append((start, metre_of(usual, piece.beat, steps)))
    return found


def piece_of_midi(
    content: bytes, steps: int, count: int, *, max_quarters: float = math.inf
) -> tuple[Piece, int, int]:
    """The piece of a file in `count` voices, on a grid of `steps` a quarter.

    Also how many notes were moved to the grid, and how many were left out: drums, and what has no voice. ValueError for
    what is no MIDI file, counts time in frames of film, or goes on for more than `max_quarters`.
    """
    import mido

    try:
        file = mido.MidiFile(file=io.BytesIO(content), clip=True)
    except MemoryError:
        raise
    except Exception as error:  # mido raises whatever goes wrong in it, and exceptions of its own
        raise ValueError(f"not a readable MIDI file ({error or type(error).__name__})") from error
    if not 0 < file.ticks_per_beat < 0x8000:
        raise ValueError("it counts time in frames of film (SMPTE), not in quarters")
    read = _Reader(steps / file.ticks_per_beat)
    for number, track in enumerate(file.tracks):
        quarters = sum(event.time for event in track) / file.ticks_per_beat
        if quarters > max_quarters:  # before there are bars: a few bytes can ask for millions of them
            raise ValueError(f"{quarters:g} quarters; the limit is {max_quarters:g}")
        read.track(number, track)
    on_grid = [(gridded(heard), read.programs[place]) for place, heard in read.parts.items()]
    parts, programs, lost = arranged([(notes, program) for (notes, _), program in on_grid], count)
    lost += read.drums + sum(cut for (_, cut), _ in on_grid)
    return read.piece(parts, programs, steps), read.moved, lost


class _Reader:
    """What the tracks of a file say, in steps. `scale`: steps a tick."""

    def __init__(self, scale: float) -> None:
        self.scale, self.moved, self.drums, self.end = scale, 0, 0, 0
        self.parts: dict[tuple[int, int], list[Heard]] = {}  # by track and channel
        self.programs: dict[tuple[int, int], int] = {}
        self.tempi: dict[int, int] = {}
        self.keys: dict[int, str] = {}
        self.metres: dict[int, tuple[int, int]] = {}

    def track(self, number: int, track: mido.MidiTrack) -> None:
        """Read a track."""
        open_: dict[tuple[int, int], list[int]] = {}
        program: dict[int, int] = {}
        now = 0
        for event in track:
            now += event.time
            if event.type == "set_tempo":
                self.tempi[self.step(now)] = event.tempo
            elif event.type == "key_signature":
                self.keys[self.step(now)] = event.key
            elif event.type == "time_signature":
                self.metres[self.step(now)] = (event.numerator, event.denominator)
            elif event.type == "program_change":
                program[event.channel] = event.program
            elif event.type in ("note_on", "note_off"):
                sounding = open_.setdefault((event.channel, event.note), [])
                if sounding:
                    self.note(number, event.channel, sounding.pop(0), now, event.note, program)
                if event.type == "note_on" and event.velocity:
                    sounding.append(now)
        for (channel, pitch), starts in open_.items():
            for start in starts:
                self.note(number, channel, start, now, pitch, program)
        silent = not any(event.type in ("note_on", "note_off") for event in track)
        channel, played = next(iter(program.items()), (0, 0))
        named = number > 0 and any(event.type == "track_name" for event in track)
        if silent and channel != _DRUMS and (program or named):  # a part that rests all the time
            self.parts[number, channel], self.programs[number, channel] = [], played
        self.end = max(self.end, self.step(now))

    def note(
        self, track: int, channel: int, start: int, end: int, pitch: int, program: dict[int, int]
    ) -> None:
        """Take a note between two ticks."""
        if channel == _DRUMS:
            self.drums += 1
            return
        first, last = self.step(start), self.step(end)
        self.moved += first != start * self.scale or last != end * self.scale
        self.programs.setdefault((track, channel), program.get(channel, 0))
        self.parts.setdefault((track, channel), []).append(Heard(start * self.scale, end * self.scale, pitch))

    def step(self, tick: int) -> int:
        """The step that is nearest to a tick."""
        return round(tick * self.scale)

    def piece(self, parts: tuple[tuple[Note, ...], ...], programs: tuple[int, ...], steps: int) -> Piece:
        """The piece, with the conductor's facts of the file."""
        length = max([self.end, 1, *(note.end for part in parts for note in part)])
        tempi = {0: 500_000, **self.tempi}  # the standard's
        beat = max((b for _, b in self.metres.values()), default=4)
        keys = [_key(step, name) for step, name in sorted({0: "", **self.keys}.items())]
        return Piece(
            length=length,
            parts=parts,
            bars=_bars({0: (4, 4), **self.metres}, length, steps),
            tempi=tuple(sorted((k, _within(v)) for k, v in tempi.items())),
            keys=tuple(keys),
            beat=beat if beat in (2, 4, 8) else 8 if beat > 8 else 4,
            programs=programs,
        )


def _within(tempo: int) -> int:
    return round(min(max(tempo, 60e6 / FASTEST), 60e6 / SLOWEST))


def _key(step: int, name: str) -> Key:
    if name in _MINOR:
        return Key(step, _MINOR.index(name) - 7, "minor")
    return Key(step, _MAJOR.index(name) - 7, "major") if name in _MAJOR else Key(step, 0, "")


def _bars(metres: dict[int, tuple[int, int]], length: int, steps: int) -> tuple[int, ...]:
    """Steps at which bars begin. A first bar that a longer metre follows at once is a pick-up: it is none."""
    found: list[int] = []
    changes = sorted(metres)
    sizes = {step: max(1, round(4 * steps * n / d)) for step, (n, d) in metres.items()}
    for k, start in enumerate(changes):
        end = changes[k + 1] if k + 1 < len(changes) else length
        if k == 0 and len(changes) > 1 and end == sizes[start] < sizes[changes[1]]:
            continue
        found += range(start, end, sizes[start])
    return tuple(found)
