"""Composed music as a dataset: in tune, said truly, shared among the instruments, from sounds that are shipped."""

from __future__ import annotations

import io
import lzma
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from multigen import registry, sounds
from multigen.datasets import rendering, scores
from multigen.datasets.composer import compose
from multigen.datasets.four_part import FourPart
from multigen.errors import MultigenError
from multigen.evaluation.audio import chroma, detune, loudness
from multigen.modalities.audio import Audio
from multigen.modalities.general_midi import PROGRAMS, key_name, midi_file

AUDIO = Audio(rate=16000, seconds=4.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIGEN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def data(cache: Path) -> FourPart:
    return FourPart(modality=AUDIO, pieces=2, instruments=("church organ", 68), workers=1)


def test_items_are_music_in_their_key(data: FourPart) -> None:
    assert len(data) == 2
    for index, piece in enumerate(data.pieces):
        item = data[index]
        assert item["media"].shape == (1, 64000)
        assert item["id"] == f"piece{index}, {item.get('text')}"
        assert item.get("text") == f"{piece.instrument}, {piece.key}, {piece.bpm} bpm"
        score = compose(index)
        assert piece.key == key_name(score.tonic, score.mode)
        whole = AUDIO.read(data.folder / piece.file)
        assert detune(whole, 16000) < 0.12
        assert loudness(whole, 16000).item() == pytest.approx(-20, abs=2)
        quarters = max(on + length for part in score.parts for on, length, _ in part)
        assert piece.seconds == pytest.approx(quarters * 60 / piece.bpm + scores.TAIL, abs=0.05)
        steps = (0, 2, 4, 5, 7, 9, 11) if score.mode == "major" else (0, 2, 3, 5, 7, 8, 9, 10, 11)
        own = [(score.tonic + step) % 12 for step in steps]
        assert chroma(whole, 16000)[0][own].sum() > 0.85


def test_the_instrument_metric_knows_its_instruments(data: FourPart) -> None:
    """Every render is heard as what it is, and every caption names it or none."""
    from multigen.evaluation.metrics.instrument import Instrument

    assert data.instruments == tuple(sorted({data[k]["text"].partition(",")[0] for k in range(len(data))}))
    if len(data.instruments) < 2:
        pytest.skip("one instrument")
    measure = Instrument(modality=AUDIO, dataset=data)
    for k in range(len(data)):
        assert measure.names[measure.named(data[k]["text"]) or 0] == data[k]["text"].partition(",")[0]


def test_drawing_is_keyed_and_says_what_it_is(data: FourPart) -> None:
    items = [data.draw(0, torch.Generator().manual_seed(k)) for k in (1, 1, 2)]
    assert torch.equal(items[0]["media"], items[1]["media"])
    assert not torch.equal(items[0]["media"], items[2]["media"])
    said = {data.draw(0, torch.Generator().manual_seed(k)).get("text", "") for k in range(60)}
    assert any("four-part piece" in text for text in said)
    assert not any("Bach" in text for text in said)


def test_captions_say_the_key_of_the_crop_and_its_place(data: FourPart) -> None:
    """Openings are the first seconds and in the piece's key; endings die away; strays have keys of their own."""
    drawn = [data.draw(k % 2, torch.Generator().manual_seed(k)) for k in range(300)]
    texts = [item.get("text", "") for item in drawn]
    keys = [re.findall(r"[A-G](?:-flat|-sharp)? (?:major|minor)", text) for text in texts]
    assert all(len(found) <= 1 for found in keys)
    strays = [k for k, found in enumerate(keys) if found and found != [data.pieces[k % 2].key]]
    assert 0.02 < len(strays) / 300 < 0.6
    openings, endings = ([k for k in range(300) if w in texts[k]] for w in ("opening", "ending"))
    assert 15 < len(openings) < 60 and 70 < len(endings) < 140
    for k in openings:
        assert torch.equal(drawn[k]["media"], data[k % 2]["media"])
    quiet = [
        drawn[k]["media"][0, -4000:].square().mean() < 0.1 * drawn[k]["media"].square().mean()
        for k in endings
    ]
    assert sum(quiet) > 0.7 * len(quiet)


def test_every_instrument_plays_equally_often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(
        rendering, "render_all", lambda jobs, workers, done: [[9.0] * len(j.renders) for j in jobs]
    )
    monkeypatch.setattr("multigen.datasets.composer.compose", lambda seed, _: scores.Score(0, "major", ()))

    def played(**settings: Any) -> list[tuple[str, str]]:
        return [(p.name, p.instrument) for p in FourPart(modality=AUDIO, **settings).pieces]

    one = played(pieces=60)
    assert set(Counter(instrument for _, instrument in one).values()) == {10}
    assert [i for _, i in one[:6]] != [i for _, i in one[6:12]] or [i for _, i in one[:6]] != [
        i for _, i in one[12:18]
    ]
    assert played(pieces=12) == one[:12]  # more pieces change none of the first
    two = played(pieces=60, plays=2)
    assert set(Counter(instrument for _, instrument in two).values()) == {20}
    assert len(set(two)) == 120
    both = played(pieces=24, textures=("song", "chorale"))
    assert [name.rstrip("0123456789") for name, _ in both] == 2 * (6 * ["piece"] + 6 * ["song"])
    assert set(Counter((n.rstrip("0123456789"), i) for n, i in both).values()) == {2}
    assert set(played(pieces=2, plays=None)) == {(f"piece{k}", i) for k in (0, 1) for i in sounds.INSTRUMENTS}


def test_whole_pieces_are_held_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(
        rendering, "render_all", lambda jobs, workers, done: [[9.0] * len(j.renders) for j in jobs]
    )
    data = FourPart(modality=AUDIO, pieces=20, plays=2)
    train, held = data.split()
    names = [{data.pieces[i].name for i in side} for side in (train, held)]
    assert sorted([*train, *held]) == list(range(40))
    assert all(names) and not names[0] & names[1]
    assert data.holds_out == "media"


def test_a_finished_cache_starts_no_work(data: FourPart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "render_all", None)
    part = registry.Part("four_part", {"pieces": 2, "instruments": ("church organ", "oboe")})
    again: Any = registry.build("dataset", part, given={"modality": AUDIO})
    assert again.pieces == data.pieces


def test_wrong_settings_end_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path))
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"instruments": ("tuba",)}, "tuba is not among the shipped sounds.*church organ.*data.soundfont"),
        ({"instruments": ()}, "instruments: none"),
        ({"plays": 7}, "plays: 7 is not allowed. Allowed: 1 to 6"),
        ({"plays": 0}, "plays: 0"),
        ({"pieces": 0}, "pieces"),
        ({"textures": ("chorale", "songs")}, "textures: 'songs'.*Did you mean 'song'"),
        ({"textures": ()}, "textures"),
        ({"soundfont": str(tmp_path / "none.sf2")}, "no such file"),
    )
    for wrong, said in cases:
        with pytest.raises(MultigenError, match=said):
            FourPart(modality=AUDIO, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("instrument", sounds.INSTRUMENTS)
def test_shipped_sounds_are_in_tune(instrument: str) -> None:
    """The strongest partial of a held A4 or A3, within 15 cents of a harmonic of it."""
    render = pytest.importorskip("midirenderer").render_wave_from
    font = lzma.decompress(sounds.FONT.read_bytes())
    for pitch, hertz in ((57, 220.0), (69, 440.0)):
        wave = render(font, midi_file([[(0.0, 3.0, pitch)]], PROGRAMS.index(instrument), 60, 0.5))
        sound, rate = soundfile.read(io.BytesIO(wave), always_2d=True)
        held = sound[rate // 2 : 5 * rate // 2].mean(1)
        assert np.sqrt(np.square(held).mean()) > 1e-3
        power = np.abs(np.fft.rfft(held * np.hanning(len(held)), 4 * len(held)))
        peak = power.argmax() * rate / (4 * len(held))
        cents = 1200 * np.log2(peak / hertz / max(1, round(peak / hertz)))
        assert abs(cents) < 15  # as in the whole font


def test_shipped_sounds_name_their_authors() -> None:
    font = lzma.decompress(sounds.FONT.read_bytes())
    assert b"Frank Wen 2000-2002, 2008; Toby Smithe 2008" in font
    assert b"Licensed under the MIT License." in font
    text = (sounds.FONT.parent / "LICENSE-fluid.txt").read_text()
    assert "Permission is hereby granted, free of charge" in text and "Frank Wen" in text
    assert sounds.FONT.stat().st_size < 8_000_000
