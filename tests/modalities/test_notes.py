from __future__ import annotations

import dataclasses
import io
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import torch

from multigen.datasets.composed_notes import composed
from multigen.datasets.keys import key_of_notes
from multigen.errors import MediaError, MultigenError, RecipeError
from multigen.evaluation.tonality import key_of
from multigen.modalities.audio import Audio
from multigen.modalities.midi import midi_of, piece_of_midi
from multigen.modalities.note_sound import RATE, carried, sound_of
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Key, Note, Piece, cut, grown, piece_of, roll_of, voices
from tests.modalities.notes_pieces import random_piece

SEEDS = range(12)


def _scale(programs: int = 19) -> Piece:
    """The scale of D major, a quarter a note at 100 bpm, over a low D."""
    pitches = (62, 64, 66, 67, 69, 71, 73, 74)
    top = tuple(Note(4 * k, 4, pitch) for k, pitch in enumerate(pitches))
    low = (Note(0, 32, 50),)
    return Piece(32, (top, (), (), low), (0, 16), ((0, 600_000),), (Key(0, 2, "major"),), 4, (programs,) * 4)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_roll_is_its_piece_and_midi_gives_it_back_exactly(seed: int, tmp_path: Path) -> None:
    steps = (4, 12, 3, 1)[seed % 4]
    piece = random_piece(seed, steps=steps)
    modality = Notes(steps=steps)
    roll = roll_of(piece)
    assert piece_of(roll) == piece
    modality.write(roll, tmp_path / "a.mid")
    assert torch.equal(modality.read(tmp_path / "a.mid"), roll)


@pytest.mark.parametrize("seed", range(4))
def test_another_library_hears_the_same_notes_at_the_same_seconds(seed: int) -> None:
    piece = random_piece(seed)
    heard = pretty_midi.PrettyMIDI(io.BytesIO(midi_of(piece, 4)))
    ticks = [(step, tempo / 1e6 / 4) for step, tempo in piece.tempi]

    def seconds(step: int) -> float:
        total, now, each = 0.0, 0, ticks[0][1]
        for start, length in ticks[1:]:
            if start < step:
                total, now, each = total + (start - now) * each, start, length
        return total + (step - now) * each

    assert [i.program for i in heard.instruments] == [
        p for p, part in zip(piece.programs, piece.parts, strict=True) if part
    ]
    for instrument, part in zip(heard.instruments, filter(None, piece.parts), strict=True):
        found = sorted((n.start, n.end, n.pitch) for n in instrument.notes)
        wanted = [(seconds(n.onset), seconds(n.end), n.pitch) for n in part]
        assert np.allclose(found, wanted, atol=2e-5)
    first, *_ = heard.time_signature_changes
    bars = [b - a for a, b in zip(piece.bars, piece.bars[1:], strict=False)]
    beats = (piece.bars[0] or bars[0]) // 4
    assert (first.numerator, first.denominator) == (beats, 4)


@pytest.mark.parametrize(("program", "onset", "pitch"), [(6, 0, 62), (6, 9, 74), (68, 14, 67), (73, 21, 76)])
def test_the_sound_has_the_note_at_its_time(program: int, onset: int, pitch: int) -> None:
    piece = dataclasses.replace(_scale(program), parts=((Note(onset, 4, pitch),), (), (), ()))
    sound = sound_of(piece, 4, None)
    heard = sound.mean(0).numpy()
    assert float(sound.abs().max()) <= 0.951 and float(sound.square().mean()) <= 0.0101
    assert float(sound.abs().max()) > 0.94 or float(sound.square().mean()) > 0.0099
    # Heard with nothing of how it was made: where the envelope rises, and the strongest partial.
    envelope = np.convolve(heard**2, np.ones(480) / 480, "same")
    start = int(np.argmax(envelope > 0.1 * envelope.max())) / RATE
    assert abs(start - onset * 0.15) < 0.05
    first = round(onset * 0.15 * RATE) + 4800
    spectrum = np.abs(np.fft.rfft(heard[first : first + 16_384] * np.hanning(16_384)))
    partial = np.argmax(spectrum) * RATE / 16_384 / (440 * 2 ** ((pitch - 69) / 12))
    assert abs(partial - round(partial)) < 0.02 * round(partial)


@pytest.mark.parametrize("seed", range(3))
def test_a_piece_that_is_played_is_heard_in_its_own_key(seed: int) -> None:
    piece = composed(seed, "chorale", 4)
    ear = Audio(rate=22050)
    sound = Audio(rate=RATE, channels=2).convert(sound_of(piece, 4, None), ear)[0]
    assert key_of(sound, ear.rate) == (piece.keys[0].tonic, piece.keys[0].mode)
    assert key_of_notes(piece.parts, 0, piece.length) in (key_of(sound, ear.rate), None)


def test_instruments_that_are_not_carried_are_played_by_ones_of_their_kind() -> None:
    from multigen import sounds
    from multigen.modalities.general_midi import PROGRAMS

    assert carried(PROGRAMS.index("oboe")) == PROGRAMS.index("oboe")
    assert PROGRAMS[carried(PROGRAMS.index("trumpet"))] == "french horn"
    assert {PROGRAMS[carried(k)] for k in range(128)} <= set(sounds.INSTRUMENTS)
    piano = sound_of(_scale(0), 4, None)
    assert bool(piano.any()) and float(piano.abs().max()) <= 0.951


def test_parts_that_are_voices_stay_and_chords_are_divided_by_height() -> None:
    tune, bass = [Note(0, 2, 60), Note(2, 2, 40)], [Note(0, 4, 72)]
    assert voices([tune, bass], 3) == ((tuple(tune), tuple(bass), ()), 0)  # also where they cross
    chords = [Note(0, 4, p) for p in (48, 64, 67, 72)] + [Note(4, 4, p) for p in (50, 65, 69, 74)]
    found, lost = voices([chords], 4)
    assert [[n.pitch for n in part] for part in found] == [[72, 74], [67, 69], [64, 65], [48, 50]]
    assert lost == 0
    found, lost = voices([chords], 2)
    assert [[n.pitch for n in part] for part in found] == [[72, 74], [48, 50]] and lost == 4
    held = [Note(0, 8, 48), Note(0, 4, 72), Note(4, 4, 74)]  # the note that is held is not cut
    found, _ = voices([held], 2)
    assert found == ((Note(0, 4, 72), Note(4, 4, 74)), (Note(0, 8, 48),))


def test_drums_are_left_out_and_notes_beside_the_grid_are_moved() -> None:
    file = pretty_midi.PrettyMIDI(initial_tempo=120)
    for drum in (False, True):
        file.instruments.append(pretty_midi.Instrument(40, is_drum=drum))
        file.instruments[-1].notes.append(pretty_midi.Note(90, 60, 0.51, 1.0))
    out = io.BytesIO()
    file.write(out)
    piece, moved, lost = piece_of_midi(out.getvalue(), 4, 4)
    assert piece.parts[0] == (Note(4, 4, 60),) and not any(piece.parts[1:])
    assert (moved, lost, piece.programs[0], piece.tempi[0][1]) == (1, 1, 40, 500_000)


def test_a_crop_begins_what_was_sounding_and_rests_are_counted_on() -> None:
    piece = random_piece(3)
    roll = roll_of(piece)
    part = piece_of(cut(roll, 6, 20))
    for before, after in zip(piece.parts, part.parts, strict=True):
        inside = [n for n in before if n.end > 6 and n.onset < 20]
        wanted = [(max(n.onset, 6) - 6, min(n.end, 20) - 6, n.pitch) for n in inside]
        assert [(n.onset, n.end, n.pitch) for n in after] == wanted
    longer = piece_of(grown(roll, piece.length + 40, 16))
    assert longer.parts == piece.parts and longer.length == piece.length + 40
    gaps = {b - a for a, b in zip(longer.bars, longer.bars[1:], strict=False)}
    assert gaps == {piece.bars[1] - piece.bars[0]} and longer.keys == piece.keys


def test_read_spans_of_quarters(tmp_path: Path) -> None:
    modality, roll = Notes(), roll_of(random_piece(5))
    modality.write(roll, tmp_path / "a.mid")
    assert modality.info(tmp_path / "a.mid").duration == roll.shape[1] / 4
    assert torch.equal(modality.read(tmp_path / "a.mid", start=2.2, duration=4), cut(roll, 8, 24))
    with pytest.raises(MediaError, match="before 900"):
        modality.read(tmp_path / "a.mid", start=900.0)


def test_words_name_bars_and_parts() -> None:
    modality, piece = Notes(), _scale()
    roll = roll_of(piece)
    keep = modality.kept(roll, "Bars 2, soprano")
    assert keep is not None and keep.shape == roll.shape[1:]
    wanted = torch.zeros(32, 5, dtype=torch.bool)
    wanted[16:], wanted[:, 0], wanted[:, 4] = True, True, True
    assert torch.equal(keep[:, :, 0], wanted) and torch.equal(keep[:, :, 127], wanted)
    other = modality.kept(roll, "all but bar 1, soprano")
    wanted[:, 0], wanted[:16, :4] = False, False
    assert other is not None and torch.equal(other[:, :, 5], wanted)
    assert modality.kept(roll, "0:8") is None
    for words, said in (
        ("bars 1-3", "bars 1 to 2"), ("tenr", "tenor"), ("bars 1-2", "everything"), ("all but bars 1-2", "nothing"),
    ):  # fmt: skip
        with pytest.raises(MultigenError, match=said):
            modality.kept(roll, words)


def test_tempo_and_instruments_are_set_where_they_are_asked_for() -> None:
    modality, roll = Notes(), roll_of(random_piece(1))
    assert torch.equal(modality.finish(roll, {"bpm": None, "instrument": None}), roll)
    piece = piece_of(modality.finish(roll, {"bpm": 92.0, "instrument": "flute, oboe, viola, cello"}))
    assert piece.tempi == ((0, 652_174),) and piece.programs == (73, 68, 41, 42)
    assert piece.parts == piece_of(roll).parts
    with pytest.raises(RecipeError, match="flute"):
        modality.finish(roll, {"instrument": "flut"})
    with pytest.raises(RecipeError, match="2 are not allowed"):
        modality.finish(roll, {"instrument": "flute, oboe"})


def test_edits_keep_the_conductor_of_the_file() -> None:
    piece = random_piece(2)
    model, own = Notes(), Notes().native(roll_of(piece))
    made = roll_of(
        Piece(piece.length, ((Note(0, 4, 60),), (), (), ()), (3,), ((0, 500_000),), piece.keys, 4, (1,) * 4)
    )
    found = piece_of(model.convert(made, own))
    assert found.parts[0] == (Note(0, 4, 60),)
    assert (found.tempi, found.bars, found.keys) == (piece.tempi, piece.bars, piece.keys)
    assert found.programs == piece.programs
    longer = piece_of(model.convert(grown(made, piece.length + 8, 16), own))
    assert longer.tempi == ((0, piece.tempi[-1][1]),) and longer.programs == piece.programs


def test_the_picture_has_a_row_for_each_pitch_and_a_colour_for_each_part() -> None:
    picture = np.asarray(Notes().preview([roll_of(_scale())]).convert("RGB")).astype(int)
    blue = (picture == (0x56, 0xB4, 0xE9)).all(2)
    columns = [int(np.flatnonzero(blue[:, round((4 * k + 2) * 960 / 32)]).mean()) for k in range(8)]
    semitones = [round((columns[0] - c) / 4) for c in columns]
    assert semitones == [0, 2, 4, 5, 7, 9, 11, 12]
    with pytest.raises(ValueError, match="nothing"):
        Notes().preview([])


def test_the_report_shows_plays_and_links() -> None:
    found = Counter(tag for tag in ("<img", "<audio", "audio/midi") if tag in Notes().html(roll_of(_scale())))
    assert len(found) == 3


def test_without_the_packages_a_message_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    modality, roll = Notes(), roll_of(_scale())
    modality.write(roll, tmp_path / "a.mid")
    for package in ("mido", "midirenderer"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MultigenError, match=r"MIDI needs the package mido: .*notes"):
        modality.read(tmp_path / "a.mid")
    with pytest.raises(MultigenError, match=r"the package midirenderer: .*notes"):
        modality.write(roll, tmp_path / "a.wav")
    assert "the package midirenderer" in modality.html(roll) and "<img" in modality.html(roll)


def test_sound_files_are_written_and_other_suffixes_refused(tmp_path: Path) -> None:
    import soundfile

    Notes().write(roll_of(_scale()), tmp_path / "a.flac")
    info = soundfile.info(tmp_path / "a.flac")
    assert (info.samplerate, info.channels) == (RATE, 2) and 4.8 < info.duration < 7.5
    with pytest.raises(MediaError, match=r"\.png"):
        Notes().write(roll_of(_scale()), tmp_path / "a.png")


@pytest.mark.parametrize("cut_at", [0, 5, 14, 25, 60, 120])
def test_damaged_files_are_refused_or_read_never_worse(cut_at: int, tmp_path: Path) -> None:
    content = bytearray(midi_of(random_piece(0), 4))
    (tmp_path / "short.mid").write_bytes(content[:cut_at])
    content[cut_at] ^= 0x55
    (tmp_path / "bent.mid").write_bytes(content)
    for name in ("short.mid", "bent.mid"):
        with suppress(MediaError):
            assert Notes().read(tmp_path / name).shape[2:] == (5, 128)


def test_settings_out_of_range_are_refused() -> None:
    for wrong in (
        {"parts": 16},
        {"steps": 5},
        {"quarters": 0.0},
        {"names": ("a",)},
        {"instruments": ("oboe", "flute")},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong)) if "quarters" not in wrong else "duration"):
            Notes(**wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="quarters"):
        Notes().shape(64)
