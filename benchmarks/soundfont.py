"""Cut a few instruments out of a SoundFont and make them small: how multigen/sounds/fluid.sf2.xz was made.

    python -m benchmarks.soundfont FluidR3_GM.sf2 multigen/sounds/fluid.sf2.xz

The presets of `multigen.sounds.INSTRUMENTS` are kept with all their zones that sound between `LOW` and `HIGH`, and the
file's notes of who made it. Samples are brought to `RATE` at most. A loop must stay a whole number of samples or it
would sound out of tune, so every sample gets a rate of its own, at which its loop is whole and begins at a whole
sample; what lies after a loop is never heard and goes. Layout: SoundFont technical specification 2.04, section 7.
"""

from __future__ import annotations

import argparse
import lzma
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multigen import sounds
from multigen.errors import MultigenError
from multigen.modalities.general_midi import program

RATE = 22050  # Hz
LOW, HIGH = 36, 84  # MIDI pitches
_WIDTH = 24  # zero crossings of the resampling kernel on each side
_REST = 46  # zeros after each sample, as the specification asks
_NOTES = (b"isng", b"INAM", b"ICRD", b"IENG", b"IPRD", b"ICOP", b"ICMT", b"ISFT")
_LAYOUT = {
    b"phdr": "<20sHHHIII", b"pbag": "<HH", b"pmod": "<HHhHH", b"pgen": "<HH",
    b"inst": "<20sH", b"ibag": "<HH", b"imod": "<HHhHH", b"igen": "<HH", b"shdr": "<20sIIIIIBbHH",
}  # fmt: skip
_KEYS, _INSTRUMENT, _SAMPLE, _LOOPS = 43, 41, 53, 54  # generators
_OFFSETS = (0, 1, 2, 3, 4, 12, 45, 50)  # generators that shift where a sample begins, loops or ends
Row = list[Any]
Tables = dict[bytes, list[Row]]


@dataclass
class Level:
    """Presets with their zones, or instruments with theirs."""

    heads: list[Row]
    zones: list[Row]
    modulators: list[Row]
    generators: list[Row]


def read(content: bytes) -> tuple[dict[bytes, bytes], Tables]:
    """All chunks of a SoundFont by name, and the tables among them as rows."""
    chunks: dict[bytes, bytes] = {}

    def walk(at: int, end: int) -> None:
        while at + 8 <= end:
            name, size = struct.unpack_from("<4sI", content, at)
            if name == b"LIST":
                walk(at + 12, at + 8 + size)
            else:
                chunks[name] = content[at + 8 : at + 8 + size]
            at += 8 + size + (size & 1)

    if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
        raise MultigenError("this is no SoundFont")
    walk(12, len(content))
    tables = {}
    for name, layout in _LAYOUT.items():
        size = struct.calcsize(layout)
        body = chunks[name][: len(chunks[name]) // size * size]
        tables[name] = [list(row) for row in struct.iter_unpack(layout, body)]
    return chunks, tables


def cut(content: bytes, programs: tuple[int, ...]) -> bytes:
    """The SoundFont with those programs of bank 0 alone."""
    chunks, tables = read(content)
    heads = tables[b"phdr"]
    presets = [k for k, row in enumerate(heads[:-1]) if row[2] == 0 and row[1] in programs]
    if len(presets) != len(set(programs)):
        raise MultigenError(f"the SoundFont has {len(presets)} of the {len(set(programs))} programs")
    upper = _take(tables, (b"phdr", b"pbag", b"pmod", b"pgen"), presets, 3)
    instruments = sorted({g[1] for g in upper.generators if g[0] == _INSTRUMENT})
    lower = _take(tables, (b"inst", b"ibag", b"imod", b"igen"), instruments, 1)
    samples = sorted({g[1] for g in lower.generators if g[0] == _SAMPLE})
    _renumber(upper.generators, _INSTRUMENT, instruments)
    looped = _looped(lower)
    _renumber(lower.generators, _SAMPLE, samples)
    pcm, rows = _samples(chunks[b"smpl"], tables[b"shdr"], samples, looped)
    return _file(chunks, upper, lower, pcm, rows)


def _take(tables: Tables, names: tuple[bytes, ...], keep: list[int], bag: int) -> Level:
    """Some presets or instruments with their zones, without zones outside the range; `bag` is the head's column."""
    heads, bags, modulators, generators = (tables[name] for name in names)
    out = Level([], [], [], [])
    for k in keep:
        out.heads.append([*heads[k][:bag], len(out.zones), *heads[k][bag + 1 :]])
        for zone in range(heads[k][bag], heads[k + 1][bag]):
            mine = generators[bags[zone][0] : bags[zone + 1][0]]
            keys = next((g[1] for g in mine if g[0] == _KEYS), 127 << 8)
            if keys >> 8 < LOW or keys & 255 > HIGH:
                continue
            out.zones.append([len(out.generators), len(out.modulators)])
            out.generators += [list(g) for g in mine]
            out.modulators += modulators[bags[zone][1] : bags[zone + 1][1]]
    return out


def _renumber(generators: list[Row], kind: int, kept: list[int]) -> None:
    for generator in generators:
        if generator[0] == kind:
            generator[1] = kept.index(generator[1])


def _looped(level: Level) -> set[int]:
    """Samples that every zone loops for as long as they sound. Zones must not shift their samples' points."""
    always: dict[int, bool] = {}
    ends: list[int] = [*(head[1] for head in level.heads[1:]), len(level.zones)]
    for head, last in zip(level.heads, ends, strict=True):
        common = 0
        for index in range(head[1], last):
            end = level.zones[index + 1][0] if index + 1 < len(level.zones) else len(level.generators)
            zone: dict[int, int] = {g[0]: g[1] for g in level.generators[level.zones[index][0] : end]}
            if any(zone.get(offset) for offset in _OFFSETS):
                raise MultigenError("zones that move their samples' points are not supported")
            if _SAMPLE in zone:
                loops = zone.get(_LOOPS, common) == 1
                always[zone[_SAMPLE]] = always.get(zone[_SAMPLE], True) and loops
            else:
                common = zone.get(_LOOPS, 0)
    return {sample for sample, loops in always.items() if loops}


def _samples(smpl: bytes, heads: list[Row], keep: list[int], looped: set[int]) -> tuple[bytes, list[Row]]:
    pieces, rows, at = [], [], 0
    for k in keep:
        name, start, end, loop, loop_end, rate, pitch, correction, link, kind = heads[k]
        sound = np.frombuffer(smpl, "<i2")[start:end].astype(np.float64)
        made = resample(sound, rate, (loop - start, loop_end - start) if k in looped else None)
        pieces += [made.sound, np.zeros(_REST, "<i2")]
        points = [at, at + len(made.sound), at + made.loop[0], at + made.loop[1]]
        partner = keep.index(link) if link in keep else 0
        rows.append([name, *points, made.rate, pitch, correction, partner, kind])
        at += len(made.sound) + _REST
    return np.concatenate(pieces).astype("<i2").tobytes(), rows


@dataclass(frozen=True)
class Resampled:
    """A resampled sound.

    sound  int16
    rate   Hz
    loop   first sample of the loop, and the one after its last
    """

    sound: np.ndarray
    rate: int
    loop: tuple[int, int]


def resample(sound: np.ndarray, rate: int, loop: tuple[int, int] | None) -> Resampled:
    """A sample at `RATE` or a little under, its loop whole. Without a loop it keeps its end."""
    ratio = min(1.0, RATE / rate)
    if loop is None:
        n = int(len(sound) * ratio)
        out = _interpolate(sound, np.arange(n) / ratio, ratio)
        return Resampled(_sixteen_bit(out), round(rate * ratio), (0, n))
    period = loop[1] - loop[0]
    count = max(1, int(period * ratio))
    ratio = count / period
    first = int(loop[0] * ratio)
    turns = np.arange(loop[0], loop[1] + 2 * _WIDTH / ratio + 2, dtype=np.int64) - loop[0]
    endless = np.concatenate([sound[: loop[0]], sound[loop[0] + turns % period]])  # as it is heard
    n = first + count + 4  # a few samples of the next turn, which interpolation reads
    out = _interpolate(endless, loop[0] + (np.arange(n) - first) / ratio, ratio)
    return Resampled(_sixteen_bit(out), round(rate * ratio), (first, first + count))


def _interpolate(sound: np.ndarray, times: np.ndarray, ratio: float) -> np.ndarray:
    """`sound` at real-valued times (in its samples), low-passed for a rate `ratio` as high: a Kaiser-windowed sinc."""
    reach = int(np.ceil(_WIDTH / ratio))
    padded = np.concatenate([np.zeros(reach), sound, np.zeros(2 * reach)])
    out = np.empty(len(times))
    for begin in range(0, len(times), 8192):
        t = times[begin : begin + 8192]
        taps = np.floor(t).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
        distance = t[:, None] - taps
        window = np.i0(9.0 * np.sqrt(np.clip(1 - np.square(distance / reach), 0, None))) / np.i0(9.0)
        cutoff = 0.94 * ratio
        out[begin : begin + 8192] = (padded[taps + reach] * cutoff * np.sinc(cutoff * distance) * window).sum(
            1
        )
    return out


def _sixteen_bit(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.round(sound), -32768, 32767).astype("<i2")


def _file(chunks: dict[bytes, bytes], upper: Level, lower: Level, pcm: bytes, rows: list[Row]) -> bytes:
    """The RIFF file, with the last row that each table ends in."""
    name = bytes(20)
    upper.heads.append([b"EOP" + name[3:], 0, 0, len(upper.zones), 0, 0, 0])
    lower.heads.append([b"EOI" + name[3:], len(lower.zones)])
    tables = {b"shdr": [*rows, [b"EOS" + name[3:]] + [0] * 9]}
    for level, names in (
        (upper, (b"phdr", b"pbag", b"pmod", b"pgen")),
        (lower, (b"inst", b"ibag", b"imod", b"igen")),
    ):
        level.zones.append([len(level.generators), len(level.modulators)])
        level.modulators.append([0] * 5)
        level.generators.append([0, 0])
        tables |= dict(
            zip(names, (level.heads, level.zones, level.modulators, level.generators), strict=True)
        )
    packed = [(n, b"".join(struct.pack(layout, *row) for row in tables[n])) for n, layout in _LAYOUT.items()]
    notes = [(b"ifil", struct.pack("<HH", 2, 1)), *((n, chunks[n]) for n in _NOTES if n in chunks)]
    body = b"sfbk" + _list(b"INFO", notes) + _list(b"sdta", [(b"smpl", pcm)]) + _list(b"pdta", packed)
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def _list(name: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    return _chunk(b"LIST", name + b"".join(_chunk(n, body) for n, body in chunks))


def compress(font: bytes) -> bytes:
    """As .xz; 16-bit sound packs better as differences."""
    filters = [
        {"id": lzma.FILTER_DELTA, "dist": 2},
        {"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 1, "pb": 1},
    ]
    return lzma.compress(font, filters=filters)


def main() -> None:
    """Read a SoundFont and write the reduced, compressed one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("font", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    made = cut(given.font.read_bytes(), tuple(program(name) for name in sounds.INSTRUMENTS))
    given.out.write_bytes(compress(made) if given.out.suffix == ".xz" else made)
    print(f"{given.out}: {len(made):,} bytes, {given.out.stat().st_size:,} in the file")


if __name__ == "__main__":
    main()
