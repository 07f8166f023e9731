"""Files of notes that are packed, hostile, or say what is not usual."""

from __future__ import annotations

import dataclasses
import io
import struct
import time
import zipfile
from pathlib import Path

import mido
import music21
import pytest
import torch

from multigen.errors import MediaError, MultigenError
from multigen.modalities import note_file
from multigen.modalities.midi import midi_of, piece_of_midi
from multigen.modalities.musicxml import musicxml_of
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Key, Note, piece_of, roll_of
from multigen.modalities.voicing import Heard, gridded
from tests.modalities.notes_pieces import random_piece

_CONTAINER = '<container><rootfiles><rootfile full-path="a.xml"/></rootfiles></container>'


def _midi(*events: tuple[int, bytes], ticks: int = 1) -> bytes:
    """A file of one track, of (delta, event)."""
    body = b"".join(_number(delta) + event for delta, event in (*events, (0, b"\xff\x2f\0")))
    head = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, ticks)
    return head + struct.pack(">4sI", b"MTrk", len(body)) + body


def _number(value: int) -> bytes:
    found = [value & 127]
    while value := value >> 7:
        found.append(value & 127 | 128)
    return bytes(found[::-1])


def _packed(members: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def test_compressed_scores_of_another_program_are_read(tmp_path: Path) -> None:
    score = musicxml_of(random_piece(4), 4, Notes().names)
    (tmp_path / "a.musicxml").write_bytes(score)
    music21.converter.parse(tmp_path / "a.musicxml").write("mxl", tmp_path / "b.mxl")
    assert (tmp_path / "b.mxl").read_bytes().startswith(b"PK\x03\x04")
    plain, packed = Notes().read(tmp_path / "a.musicxml"), Notes().read(tmp_path / "b.mxl")
    assert torch.equal(plain[:, :, :4], packed[:, :, :4])


def test_compressed_scores_that_are_too_large_or_broken_are_refused_at_once(tmp_path: Path) -> None:
    bomb = _packed({"META-INF/container.xml": _CONTAINER, "a.xml": b" " * (20 << 20)})
    lying = bomb.replace(struct.pack("<I", 20 << 20), struct.pack("<I", 1000))
    for content, said in (
        (bomb, "limit max_bytes"),
        (lying, "not a readable|limit max_bytes"),
        (_packed({"a.xml": "x"}), "no META-INF"),
        (_packed({"META-INF/container.xml": "<container/>", "a.xml": "x"}), "names no score"),
        (_packed({"META-INF/container.xml": _CONTAINER}), "no a.xml"),
        (b"PK\x03\x04junk", "not a readable compressed score"),
    ):
        (tmp_path / "a.mxl").write_bytes(content)
        start = time.monotonic()
        with pytest.raises(MediaError, match=said):
            Notes().read(tmp_path / "a.mxl")
        assert time.monotonic() - start < 2


def test_a_few_bytes_of_midi_cannot_ask_for_millions_of_bars(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(
        _midi((0, b"\xff\x58\x04\x01\x06\x18\x08"), (0x3FFFFFF, b"\x90\x40\x40"), (1, b"\x80\x40\0"))
    )
    start = time.monotonic()
    with pytest.raises(MediaError, match=r"quarters; the limit is 20000"):
        Notes().read(path)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "event", [b"\xff\x59\x02\x09\x00", b"\xff\x59\x02\x00", b"\xff\x58\x01\x01", b"\xff\x51\x01\x01"]
)
def test_whatever_the_reader_of_midi_raises_is_one_message(event: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(_midi((0, event), (4, b"\x90\x40\x40"), (1, b"\x80\x40\0")))
    with pytest.raises(MediaError, match=r"a\.mid: not a readable MIDI file"):
        Notes().read(tmp_path / "a.mid")


def test_a_bar_of_any_number_is_a_message() -> None:
    for words in ("bar 99", "bars " + "9" * 5000, "bars 1-" + "9" * 5000):
        with pytest.raises(MultigenError, match="keep bar"):
            Notes().kept(roll_of(random_piece(0)), words)


def test_files_that_are_read_again_are_known_and_what_is_known_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(note_file, "_MOST", 100_000)
    paths = [tmp_path / f"{k}.mid" for k in range(30)]
    for seed, path in enumerate(paths):
        Notes().write(roll_of(random_piece(seed)), path)
        Notes().read(path)
    assert 0 < len(note_file._known) < 30
    monkeypatch.setattr(note_file, "piece_of_midi", None)  # the last one is not parsed again
    assert Notes().read(paths[-1]).shape[2] == 5
    with pytest.raises(MediaError, match="the limit is 4"):  # the limits are of who reads
        Notes(quarters=4.0, max_quarters=4.0).read(paths[-1])


@pytest.mark.parametrize(
    ("bars", "beat", "metres"),
    [
        ((16, 16, 12, 12), 8, [(4, 4), (6, 8)]),
        ((3, 3, 3), 8, [(3, 16)]),
        ((12, 12), 4, [(3, 4)]),
        ((16, 16), 2, [(2, 2)]),
        ((14, 14), 8, [(7, 8)]),
        ((1200, 1200), 8, [(150, 2)]),
    ],
)
def test_each_bar_has_its_metre(bars: tuple[int, ...], beat: int, metres: list[tuple[int, int]]) -> None:
    begins = tuple(sum(bars[:k]) for k in range(len(bars)))
    piece = dataclasses.replace(
        random_piece(0),
        length=sum(bars),
        bars=begins,
        beat=beat,
        parts=((Note(0, 2, 60),),) * 4,
        keys=(Key(0, 0, ""),),
    )
    content = midi_of(piece, 4)
    file = mido.MidiFile(file=io.BytesIO(content))
    signs = [event for event in file.tracks[0] if event.type == "time_signature"]
    assert [(sign.numerator, sign.denominator) for sign in signs] == metres
    assert piece_of_midi(content, 4, 4)[0].bars == begins
    score = music21.converter.parseData(musicxml_of(piece, 4, Notes().names), format="musicxml")
    written = score.parts[0].recurse().getElementsByClass("TimeSignature")
    assert [(sign.numerator, sign.denominator) for sign in written] == metres


def test_bars_longer_than_midi_can_say_are_written(tmp_path: Path) -> None:
    piece = dataclasses.replace(random_piece(0), length=9000, bars=(0, 8999))
    Notes().write(roll_of(piece), tmp_path / "a.mid")
    assert piece_of(Notes().read(tmp_path / "a.mid")).parts == piece.parts


@pytest.mark.parametrize("suffix", [".mid", ".musicxml"])
def test_an_empty_part_keeps_its_place(suffix: str, tmp_path: Path) -> None:
    piece = random_piece(6)
    piece = dataclasses.replace(
        piece, parts=(piece.parts[0], (), *piece.parts[2:]), programs=(40, 41, 42, 43)
    )
    Notes().write(roll_of(piece), tmp_path / f"a{suffix}")
    found = piece_of(Notes().read(tmp_path / f"a{suffix}"))
    assert (found.parts, found.programs) == (piece.parts, piece.programs)


def test_an_ornament_cuts_its_own_part_alone() -> None:
    top = (Note(0, 1, 72), Note(1, 1, 74), Note(2, 14, 72), Note(16, 16, 76))
    rest = ((Note(0, 32, 60),), (Note(0, 32, 64),), (Note(0, 32, 48),))  # the second and the third cross
    fine = dataclasses.replace(
        random_piece(0),
        length=32,
        parts=(top, *rest),
        bars=(0,),
        keys=(Key(0, 0, ""),),
        programs=(1, 2, 3, 4),
    )
    found, _, lost = piece_of_midi(midi_of(fine, 16), 4, 4)
    assert lost == 2 and found.programs == (1, 2, 3, 4)
    assert found.parts == (
        (Note(0, 4, 72), Note(4, 4, 76)),
        (Note(0, 8, 60),),
        (Note(0, 8, 64),),
        (Note(0, 8, 48),),
    )


def test_notes_that_sound_together_stay_and_those_that_touch_follow() -> None:
    chord = [Heard(0.0, 4.0, 60), Heard(0.0, 4.0, 64), Heard(1.0, 2.0, 67)]
    assert gridded(chord) == ([Note(0, 4, 60), Note(0, 4, 64), Note(1, 1, 67)], 0)
    legato = [Heard(0.0, 4.9, 60), Heard(4.5, 8.0, 62)]
    assert gridded(legato) == ([Note(0, 4, 60), Note(4, 4, 62)], 0)
