from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as Xml

import music21
import pytest
import torch

from multigen.errors import MediaError
from multigen.modalities.musicxml import musicxml_of, spelled, split, values
from multigen.modalities.notes import STEPS, Notes
from multigen.modalities.roll import Key, Note, Piece, piece_of, roll_of
from tests.modalities.notes_pieces import random_piece

NAMES = ("soprano", "alto", "tenor", "bass")
# The order that the schema of MusicXML 4.0 demands.
ORDER = {
    "note": ("pitch", "rest", "duration", "tie", "voice", "type", "dot", "time-modification", "notations"),
    "attributes": ("divisions", "key", "time", "clef"),
    "direction": ("direction-type", "offset", "sound"),
    "measure": ("attributes", "direction", "note", "barline"),
    "key": ("fifths", "mode"),
    "pitch": ("step", "alter", "octave"),
    "clef": ("sign", "line", "clef-octave-change"),
    "score-part": ("part-name", "score-instrument", "midi-instrument"),
    "score-partwise": ("work", "part-list", "part"),
}
_LENGTHS = {
    "breve": 8,
    "whole": 4,
    "half": 2,
    "quarter": 1,
    "eighth": 0.5,
    "16th": 0.25,
    "32nd": 0.125,
    "64th": 0.0625,
}


def _parsed(piece: Piece, steps: int = 4) -> music21.stream.Score:
    read = music21.converter.parseData(musicxml_of(piece, steps, NAMES).decode(), format="musicxml")
    assert isinstance(read, music21.stream.Score)
    return read


@pytest.mark.parametrize("seed", range(8))
def test_files_hold_to_the_schema_and_their_bars_add_up(seed: int) -> None:
    steps = (4, 12)[seed % 2]
    piece = random_piece(seed, steps=steps)
    root = Xml.fromstring(musicxml_of(piece, steps, NAMES, "A & B"))
    for element in root.iter():
        if element.tag in ORDER:
            places = [ORDER[element.tag].index(child.tag) for child in element]
            assert places == sorted(places), element.tag
    ids = {part.get("id") for part in root.iter("score-part")}
    assert len(ids) == 4 and {part.get("id") for part in root.iter("part")} == ids
    for part in root.iter("part"):
        lengths = [sum(int(note.findtext("duration", "")) for note in bar.iter("note")) for bar in part]
        assert lengths == [end - start for start, end in piece.measures()]
        for note in part.iter("note"):  # what is drawn lasts as long as what is meant
            if note.find("type") is None:
                assert note.find("rest[@measure='yes']") is not None
                continue
            drawn = Fraction(_LENGTHS[note.findtext("type", "")]) * (
                Fraction(3, 2) ** len(note.findall("dot"))
            )
            drawn *= Fraction(2, 3) if note.find("time-modification") is not None else 1
            assert drawn * steps == int(note.findtext("duration", ""))


@pytest.mark.parametrize("seed", range(4))
def test_music21_reads_the_notes_keys_metres_and_ties(seed: int) -> None:
    piece = random_piece(seed)
    score = _parsed(piece)
    pickup, whole = piece.bars[0], piece.bars[1] - piece.bars[0]
    for part, notes in zip(score.parts, piece.parts, strict=True):
        joined = part.stripTies().flatten().notes
        found = [(Fraction(n.offset) * 4, Fraction(n.quarterLength) * 4, n.pitch.midi) for n in joined]
        assert found == [(n.onset, n.length, n.pitch) for n in notes]
        bars = list(part.getElementsByClass("Measure"))
        assert [bar.offset * 4 for bar in bars] == [start for start, _ in piece.measures()]
        assert bars[0].number == (0 if pickup else 1)
        sign = part.recurse().getElementsByClass("TimeSignature").first()
        assert sign is not None and sign.ratioString == f"{whole // 4}/4"
        keys = [(k.sharps, k.mode) for k in part.recurse().getElementsByClass("Key")]
        assert keys == [(key.fifths, key.mode) for key in piece.keys]
        crossing = sum(
            any(note.onset < start < note.end for note in notes) for start, _ in piece.measures()[1:]
        )
        ties = [n for n in part.flatten().notes if n.tie is not None and n.tie.type in ("stop", "continue")]
        assert len(ties) >= crossing


def test_the_file_comes_back_as_it_was(tmp_path: Path) -> None:
    piece = random_piece(7)
    piece = Piece(**{**vars(piece), "tempi": ((0, 652_174),)})
    modality = Notes()
    modality.write(roll_of(piece), tmp_path / "a.musicxml")
    found = piece_of(modality.read(tmp_path / "a.musicxml"))
    assert found == piece
    assert torch.equal(modality.read(tmp_path / "a.musicxml"), roll_of(piece))


@pytest.mark.parametrize(
    ("pitch", "key", "name"),
    [
        (68, "a", "G#4"), (66, "C", "F#4"), (70, "C", "Bb4"), (63, "C", "Eb4"), (63, "a", "D#4"), (70, "d", "Bb4"),
        (61, "d", "C#4"), (66, "D", "F#4"), (75, "E", "D#5"), (71, "C-", "Cb5"), (60, "C#", "B#3"), (58, "b-", "Bb3"),
        (64, "b-", "E4"), (69, "b-", "A4"), (71, "c", "B4"), (66, "c", "F#4"), (68, "c", "Ab4"), (61, "A", "C#4"),
    ],
)  # fmt: skip
def test_pitches_are_spelled_as_their_key_has_them(pitch: int, key: str, name: str) -> None:
    known = music21.key.Key(key)
    step, alter, octave = spelled(pitch, known.sharps, known.mode)
    assert f"{step}{'#' * max(alter, 0)}{'b' * max(-alter, 0)}{octave}" == name
    assert music21.pitch.Pitch(name.replace("b", "-")).midi == pitch


@pytest.mark.parametrize("fifths", range(-7, 8))
def test_every_pitch_is_spelled_in_every_key(fifths: int) -> None:
    scale = {p.midi % 12 for p in music21.key.KeySignature(fifths).getScale("major").pitches}
    for pitch in range(128):
        step, alter, octave = spelled(pitch, fifths)
        said = music21.pitch.Pitch(f"{step}{'#' * max(alter, 0)}{'-' * max(-alter, 0)}", octave=octave)
        assert said.midi == pitch
        if pitch % 12 in scale:  # what is in the key needs no accidental
            altered = {p.step: p.alter for p in music21.key.KeySignature(fifths).alteredPitches}
            assert alter == altered.get(step, 0)


@pytest.mark.parametrize("steps", STEPS)
def test_every_length_is_made_of_symbols(steps: int) -> None:
    for offset in range(2 * steps):
        for length in range(1, 9 * steps):
            found = split(offset, length, steps)
            assert sum(found) == length and all(n in values(steps) for n in found)
    assert split(0, 2 * steps, steps) == [2 * steps]
    if steps == 4:
        assert split(0, 5, 4) == [4, 1] and split(3, 3, 4) == [3] and split(2, 10, 4) == [2, 8]


def test_clefs_suit_the_voices_and_empty_parts_rest() -> None:
    parts = ((Note(0, 16, 72),), (Note(0, 16, 57),), (Note(0, 16, 45),), ())
    piece = Piece(32, parts, (0, 16), ((0, 600_000),), (Key(0, 0, ""),), 4, (19,) * 4)
    score = _parsed(piece)
    clefs = [type(p.recurse().getElementsByClass("Clef").first()).__name__ for p in score.parts]
    assert clefs == ["TrebleClef", "Treble8vbClef", "BassClef", "TrebleClef"]
    assert all(
        bar.isFlat is not None and bar.notesAndRests[0].isRest
        for bar in score.parts[3][music21.stream.Measure]
    )


def test_triplets_keep_their_time() -> None:
    notes = tuple(Note(4 * k, 4, 60 + k) for k in range(6))
    piece = Piece(48, (notes, (), (), ()), (0,), ((0, 600_000),), (Key(0, 0, "major"),), 4, (0,) * 4)
    found = _parsed(piece, 12).parts[0].flatten().notes
    assert [Fraction(n.quarterLength).limit_denominator(12) for n in found] == [Fraction(1, 3)] * 6


def test_what_is_no_score_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.musicxml").write_text("<html>not music</html>")
    with pytest.raises(MediaError, match=r"a\.musicxml"):
        Notes().read(tmp_path / "a.musicxml")
