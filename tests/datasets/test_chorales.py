"""Chorales: scores read right, rendered right, captions true, caches that survive interruption."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.datasets import rendering, scores
from multigen.datasets.chorales import KINDS, Chorales
from multigen.datasets.render_captions import Crop, Piece, caption
from multigen.errors import MediaError, MultigenError, RecipeError
from multigen.evaluation.audio import chroma, detune, loudness
from multigen.modalities.audio import Audio
from multigen.modalities.general_midi import key_name, midi_file, program

AUDIO = Audio(rate=16000, seconds=4.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIGEN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def chorales(cache: Path) -> Chorales:
    return Chorales(modality=AUDIO, pieces=2, transpose=(0, 3), instruments=("church organ", 48), workers=1)


def test_items_are_in_tune_and_at_one_level(chorales: Chorales) -> None:
    assert len(chorales) == 8
    for index in (0, 3, 7):
        item = chorales[index]
        assert item["media"].shape == (1, 64000)
        assert detune(item["media"], 16000) < 0.12
        assert loudness(item["media"], 16000).item() == pytest.approx(-20, abs=3)
        assert item["media"].abs().max() <= 0.951


def test_transposed_renders_sound_higher_and_say_so(chorales: Chorales) -> None:
    """Three semitones up: the pitch classes turn by three, and the caption's key with them."""
    by_id = {(p.name, p.instrument, p.file.split(".")[-2]): i for i, p in enumerate(chorales.pieces)}
    for name in {p.name for p in chorales.pieces}:
        low, high = (by_id[name, "church organ", shift] for shift in ("+0", "+3"))
        # The tempi differ: hear both whole.
        sounds = [AUDIO.read(chorales.folder / chorales.pieces[i].file) for i in (low, high)]
        a, b = (chroma(sound, 16000)[0] for sound in sounds)
        errors = [(a.roll(shift) - b).abs().sum().item() / 2 for shift in range(12)]
        assert min(range(12), key=errors.__getitem__) == 3
        assert errors[3] < 0.2 < sorted(errors)[1]
        tonics = [chorales.pieces[i].key for i in (low, high)]
        assert tonics[0] != tonics[1]
        assert tonics[0].split()[1] == tonics[1].split()[1]


def test_tempo_is_the_captions(chorales: Chorales) -> None:
    piece = chorales.pieces[0]
    notes = json.loads(next(chorales.folder.parent.glob(f"notes-*/{piece.name}.json")).read_text())
    quarters = max(on + length for part in notes["parts"] for on, length, _ in part)
    assert piece.seconds == pytest.approx(quarters * 60 / piece.bpm + scores.TAIL, abs=0.05)
    assert chorales[0].get("text") == f"church organ, {piece.key}, {piece.bpm} bpm"
    # Each render of a piece has a tempo of its own.
    assert all(len({p.bpm for p in chorales.pieces if p.name == name}) > 1 for name in {piece.name})


@pytest.mark.parametrize(("level", "shown"), [(logging.INFO, True), (logging.WARNING, False)])
def test_progress_of_rendering_follows_the_log(
    level: int,
    shown: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr alone; where that is no terminal, not a line for each piece."""

    def render_all(jobs: list[rendering.Job], workers: int, done: Callable[[], Any]) -> list[list[float]]:
        for _ in jobs:
            time.sleep(0.002)
            done()
        return [[9.0] for _ in jobs]

    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(rendering, "render_all", render_all)
    monkeypatch.setattr(scores, "load", lambda score, notes: scores.Score(0, "major", ()))
    logger = logging.getLogger("multigen")
    before = logger.level
    logger.setLevel(level)
    try:
        assert len(Chorales(modality=AUDIO, pieces=100)) == 100
    finally:
        logger.setLevel(before)
    said = capsys.readouterr()
    assert said.out == ""
    if shown:
        assert "render chorales: 100%" in said.err
        assert said.err.count("render chorales") <= 12
    else:
        assert said.err == ""


def test_drawing_is_keyed_and_moves(chorales: Chorales) -> None:
    items = [chorales.draw(0, torch.Generator().manual_seed(k)) for k in (1, 1, 2, 3)]
    assert torch.equal(items[0]["media"], items[1]["media"])
    assert items[0].get("text") == items[1].get("text") != ""
    assert not torch.equal(items[0]["media"], items[2]["media"])
    assert all(i["media"].shape == (1, 64000) and i["media"].std() > 0.02 for i in items)


def test_whole_pieces_are_held_out(chorales: Chorales) -> None:
    train, held = chorales.split()
    assert sorted([*train, *held]) == list(range(8))
    names = [{chorales.pieces[i].name for i in side} for side in (train, held)]
    assert len(names[0]) == len(names[1]) == 1
    assert not names[0] & names[1]


def test_what_is_there_is_not_made_again(chorales: Chorales, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished cache starts no worker; one with a file gone makes that file alone, the same as before."""
    folder = chorales.folder

    def build() -> Chorales:
        programs = ("church organ", 48)
        return Chorales(modality=AUDIO, pieces=2, transpose=(0, 3), instruments=programs, workers=1)

    lost = folder / chorales.pieces[4].file
    before, content = {p: p.stat().st_mtime_ns for p in folder.glob("*.flac")}, lost.read_bytes()
    lost.unlink()
    again = build()
    assert again.pieces == chorales.pieces
    assert lost.read_bytes() == content
    assert {p for p in before if p.stat().st_mtime_ns != before[p]} == {lost}
    monkeypatch.setattr(rendering, "render_all", None)
    assert build().pieces == chorales.pieces


def test_a_file_gone_bad_is_named(chorales: Chorales) -> None:
    path = chorales.folder / chorales.pieces[-1].file
    content = path.read_bytes()
    try:
        path.write_bytes(content[: len(content) // 3])
        with pytest.raises(MediaError, match=re.escape(path.name)):
            [chorales.draw(len(chorales) - 1, torch.Generator().manual_seed(k)) for k in range(8)]
    finally:
        path.write_bytes(content)


def test_a_worker_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path))
    (tmp_path / "bad.sf2").write_bytes(b"no soundfont")
    with pytest.raises(MultigenError, match="cannot be rendered"):
        Chorales(modality=AUDIO, pieces=1, soundfont=str(tmp_path / "bad.sf2"), workers=1)
    assert not list(tmp_path.rglob("*.flac"))


MUSICXML = """<?xml version="1.0"?><score-partwise version="3.1"><part-list><score-part id="P1"><part-name>S</part-name>
</score-part></part-list><part id="P1"><measure number="1"><attributes><divisions>2</divisions><key><fifths>1</fifths>
</key><time><beats>4</beats><beat-type>4</beat-type></time></attributes>
<note><pitch><step>G</step><octave>4</octave></pitch><duration>3</duration></note>
<note><rest/><duration>1</duration></note>
<note><pitch><step>B</step><octave>4</octave></pitch><duration>4</duration><tie type="start"/>
<notations><tied type="start"/></notations></note></measure>
<measure number="2"><note><pitch><step>B</step><octave>4</octave></pitch><duration>2</duration><tie type="stop"/>
<notations><tied type="stop"/></notations></note>
<note><pitch><step>D</step><octave>5</octave></pitch><duration>2</duration></note>
<note><pitch><step>G</step><octave>4</octave></pitch><duration>4</duration>
<notations><fermata/></notations></note></measure></part></score-partwise>"""


def test_a_score_is_read_with_rests_ties_and_fermatas(tmp_path: Path) -> None:
    (tmp_path / "s.musicxml").write_text(MUSICXML)
    score = scores.load(tmp_path / "s.musicxml", tmp_path / "s.json")
    # The tied B lasts three quarters; the last note breathes at its end.
    assert score.parts == (((0.0, 1.5, 67), (2.0, 3.0, 71), (5.0, 1.0, 74), (6.0, 1.5, 67)),)
    assert key_name(score.tonic, score.mode) == "G major"
    (tmp_path / "s.musicxml").unlink()
    assert scores.load(tmp_path / "s.musicxml", tmp_path / "s.json") == score


def test_midi_bytes() -> None:
    """One quarter of C4 and a rest of a second at 60 bpm, byte by byte (Standard MIDI Files 1.0)."""
    track = bytes.fromhex(
        "00 ff 51 03 0f 42 40"  # 1,000,000 us a quarter
        "00 c0 13"  # program 19
        "00 90 3c 60"  # note on
        "83 60 80 3c 00"  # 480 ticks later, off
        "83 60 ff 2f 00"  # 480 ticks later, the end
    )
    head = bytes.fromhex("4d546864 00000006 0000 0001 01e0 4d54726b") + len(track).to_bytes(4, "big")
    assert midi_file([[(0.0, 1.0, 60)]], 19, 60.0, 1.0) == head + track


def test_captions_are_true_and_varied() -> None:
    piece = Piece("bwv1", "a.flac", "church organ", "G major", 92, 30.0, 0, 3, KINDS)

    def said(crop: Crop) -> set[str]:
        return {caption(piece, crop, torch.Generator().manual_seed(k)) for k in range(200)}

    home, away, neither = said(Crop("G major")), said(Crop("E minor", "ending")), said(Crop(None, "opening"))
    assert "church organ, G major, 92 bpm" in home
    assert min(len(home), len(away), len(neither)) > 15
    for texts, key, others in (
        (home, "G major", "minor"),
        (away, "E minor", "major"),
        (neither, "", "m[ai][jn]or"),
    ):
        for text in texts:
            assert not re.search(others, text)
            words = ("church organ", key, "92 bpm", "moderate", "flowing")
            assert sum(word in text for word in words if word) >= 1 + bool(key)
        assert not any(word in text for text in texts for word in ("slow", "fast", "in four"))
    assert not any(word in text for text in home for word in ("opening", "ending", "sad", "calm"))
    assert sum(text.endswith(", ending") for text in away) / len(away) > 0.6
    assert any("bright" in text for text in home) and any("dark" in text for text in away)
    assert any("in three" in text for text in home)


def test_names() -> None:
    assert program("church organ") == program("Church Organ") == program(19) == 19
    assert [key_name(t, "major") for t in (0, 1, 10, 15)] == [
        "C major",
        "D-flat major",
        "B-flat major",
        "E-flat major",
    ]
    assert key_name(8, "minor") == "G-sharp minor"
    with pytest.raises(RecipeError, match="Did you mean 'church organ'"):
        program("church orgel")
    with pytest.raises(RecipeError, match="0 to 127"):
        program(128)


def test_wrong_settings_end_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path))
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"instruments": ()}, "instruments"),
        ({"transpose": (13,)}, "transpose"),
        ({"slowest": 120, "fastest": 60}, "tempi"),
        ({"pieces": 0}, "pieces"),
        ({"soundfont": str(tmp_path / "none.sf2")}, "no such file"),
    )
    for wrong, said in cases:
        with pytest.raises(MultigenError, match=said):
            Chorales(modality=AUDIO, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["music21", "midirenderer", "pretty_midi"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(MultigenError, match=rf'{missing}.*pip install -e ".*\[demo\]"'):
        Chorales(modality=AUDIO, pieces=1)
