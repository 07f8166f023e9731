"""The 128 programs of General MIDI, level 1 (MIDI Manufacturers Association, 1991), names of keys, MIDI files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from multigen.errors import RecipeError, message

_KEY = re.compile(r"\b([A-G](?:-flat|-sharp)?) (major|minor)\b")
PROGRAMS = (
    "acoustic grand piano", "bright acoustic piano", "electric grand piano", "honky-tonk piano",
    "electric piano 1", "electric piano 2", "harpsichord", "clavinet",
    "celesta", "glockenspiel", "music box", "vibraphone", "marimba", "xylophone", "tubular bells", "dulcimer",
    "drawbar organ", "percussive organ", "rock organ", "church organ",
    "reed organ", "accordion", "harmonica", "tango accordion",
    "acoustic guitar (nylon)", "acoustic guitar (steel)", "electric guitar (jazz)", "electric guitar (clean)",
    "electric guitar (muted)", "overdriven guitar", "distortion guitar", "guitar harmonics",
    "acoustic bass", "electric bass (finger)", "electric bass (pick)", "fretless bass",
    "slap bass 1", "slap bass 2", "synth bass 1", "synth bass 2",
    "violin", "viola", "cello", "contrabass",
    "tremolo strings", "pizzicato strings", "orchestral harp", "timpani",
    "string ensemble 1", "string ensemble 2", "synth strings 1", "synth strings 2",
    "choir aahs", "voice oohs", "synth voice", "orchestra hit",
    "trumpet", "trombone", "tuba", "muted trumpet", "french horn", "brass section", "synth brass 1", "synth brass 2",
    "soprano sax", "alto sax", "tenor sax", "baritone sax", "oboe", "english horn", "bassoon", "clarinet",
    "piccolo", "flute", "recorder", "pan flute", "blown bottle", "shakuhachi", "whistle", "ocarina",
    "lead 1 (square)", "lead 2 (sawtooth)", "lead 3 (calliope)", "lead 4 (chiff)",
    "lead 5 (charang)", "lead 6 (voice)", "lead 7 (fifths)", "lead 8 (bass + lead)",
    "pad 1 (new age)", "pad 2 (warm)", "pad 3 (polysynth)", "pad 4 (choir)",
    "pad 5 (bowed)", "pad 6 (metallic)", "pad 7 (halo)", "pad 8 (sweep)",
    "fx 1 (rain)", "fx 2 (soundtrack)", "fx 3 (crystal)", "fx 4 (atmosphere)",
    "fx 5 (brightness)", "fx 6 (goblins)", "fx 7 (echoes)", "fx 8 (sci-fi)",
    "sitar", "banjo", "shamisen", "koto", "kalimba", "bagpipe", "fiddle", "shanai",
    "tinkle bell", "agogo", "steel drums", "woodblock", "taiko drum", "melodic tom", "synth drum", "reverse cymbal",
    "guitar fret noise", "breath noise", "seashore", "bird tweet",
    "telephone ring", "helicopter", "applause", "gunshot",
)  # fmt: skip

_MAJOR = ("C", "D-flat", "D", "E-flat", "E", "F", "F-sharp", "G", "A-flat", "A", "B-flat", "B")
_MINOR = ("C", "C-sharp", "D", "E-flat", "E", "F", "F-sharp", "G", "G-sharp", "A", "B-flat", "B")


def program(instrument: str | int, where: str = "instruments") -> int:
    """The program 0 to 127 of a name or number. RecipeError with the nearest name for an unknown one."""
    if isinstance(instrument, int):
        if not 0 <= instrument < len(PROGRAMS):
            raise RecipeError(
                f"{where}: {instrument} is not allowed. Allowed: 0 to {len(PROGRAMS) - 1}, or a name."
            )
        return instrument
    if instrument.lower() not in PROGRAMS:
        raise RecipeError(message(where, instrument, PROGRAMS))
    return PROGRAMS.index(instrument.lower())


def key_classes(name: str) -> tuple[int, ...]:
    """Pitch classes of a key's scale, 0 is C. Minor keys have both the flat and the raised seventh."""
    tonic, _, mode = name.partition(" ")
    root = (_MAJOR if mode == "major" else _MINOR).index(tonic)
    steps = (0, 2, 4, 5, 7, 9, 11) if mode == "major" else (0, 2, 3, 5, 7, 8, 10, 11)
    return tuple((root + step) % 12 for step in steps)


def key_in(text: str) -> str | None:
    """The first key that a text names, such as "E-flat major"; None where it names none."""
    found = _KEY.search(text)
    return None if found is None else found[0]


def key_name(tonic: int, mode: str) -> str:
    """The name of a key from its pitch class, 0 (C) to 11, and "major" or "minor": "E-flat major"."""
    return f"{(_MAJOR if mode == 'major' else _MINOR)[tonic % 12]} {mode}"


def midi_file(
    parts: Sequence[Sequence[tuple[float, float, int]]], program: int, bpm: float, tail: float
) -> bytes:
    """A Standard MIDI File, format 0.

    parts    per voice, notes of (onset, length) in quarters and MIDI pitch
    program  General MIDI, 0 to 127
    bpm      quarters per minute
    tail     seconds after the last note

    Each part has its own channel, so that two voices on one pitch do not cut each other off.
    """
    ticks = 480  # a quarter
    events: list[tuple[int, int, bytes]] = []
    for index, part in enumerate(parts):
        channel = index + (index >= 9)  # channel 9 is percussion
        events.append((0, 0, bytes([0xC0 | channel, program])))
        for onset, length, pitch in part:
            events.append((round(onset * ticks), 2, bytes([0x90 | channel, pitch, 96])))
            events.append((round((onset + length) * ticks), 1, bytes([0x80 | channel, pitch, 0])))
    events.sort()
    end = events[-1][0] + round(tail * bpm / 60 * ticks)
    body, now = b"\0\xff\x51\x03" + round(60e6 / bpm).to_bytes(3, "big"), 0
    for tick, _, event in [*events, (end, 3, b"\xff\x2f\0")]:
        body += _variable_length(tick - now) + event
        now = tick
    head = (6).to_bytes(4, "big") + (0).to_bytes(2, "big") + (1).to_bytes(2, "big") + ticks.to_bytes(2, "big")
    return b"MThd" + head + b"MTrk" + len(body).to_bytes(4, "big") + body


def _variable_length(number: int) -> bytes:
    """MIDI's variable-length quantity: seven bits per byte, the highest bit set in all bytes but the last."""
    out = [number & 127]
    while number := number >> 7:
        out.append(128 | (number & 127))
    return bytes(reversed(out))
