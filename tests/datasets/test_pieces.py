from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import music21
import pytest
import torch

from multigen.datasets.chorale_notes import ChoraleNotes
from multigen.datasets.chorales import corpus
from multigen.datasets.composed_notes import ComposedNotes, composed
from multigen.datasets.keys import key_of_notes
from multigen.datasets.pieces import transposed
from multigen.errors import RecipeError
from multigen.modalities.general_midi import key_name
from multigen.modalities.notes import Notes
from multigen.modalities.roll import piece_of, roll_of
from multigen.registry import Part, build


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path_factory.getbasetemp() / "pieces"))


def test_composed_pieces_are_gapless_and_end_on_the_tonic() -> None:
    for seed in range(3):
        piece = composed(seed, "chorale", 4)
        for part in piece.parts:
            gaps = [b.onset - a.end for a, b in pairwise(part)]
            assert not any(gaps) and part[-1].end == piece.length
        assert piece.parts[-1][-1].pitch % 12 == piece.keys[0].tonic
        last = [part[-1].onset for part in piece.parts]
        assert all(
            (on - piece.bars[0]) % 8 == 0 or piece.metre(0) == 12 for on in last
        )  # cadences on strong beats


def test_crops_say_the_key_and_the_tempo_that_they_have() -> None:
    data = ComposedNotes(modality=Notes(), pieces=8)
    seen: set[str] = set()
    for index in range(len(data)):
        for draw in range(6):
            rng = torch.Generator().manual_seed(100 * index + draw)
            item = data.draw(index, rng)
            piece, text = piece_of(item["media"]), item.get("text", "")
            assert item["media"].shape == (1, 128, 5, 128)
            heard = key_of_notes(piece.parts, 0, 128)
            key = re.search(r"[A-G](?:-flat|-sharp)? m\w+", text)
            if key is not None:
                assert heard is not None and key[0] == key_name(*heard)
                assert key_name(piece.keys[0].tonic, piece.keys[0].mode) == key[0]
                seen.add(key[0])
            bpm = re.search(r"(\d+) bpm", text)
            assert bpm is None or piece.tempi == ((0, round(60e6 / int(bpm[1]))),)
            assert ("in three" in text) <= (piece.metre(0) == 12)
    assert len(seen) > 8
    again = data.draw(3, torch.Generator().manual_seed(5))
    assert torch.equal(again["media"], data.draw(3, torch.Generator().manual_seed(5))["media"])


def test_transposed_pieces_keep_their_intervals() -> None:
    piece = composed(0, "chorale", 4)
    for semitones in range(-6, 7):
        other = transposed(piece, semitones)
        assert [[n.pitch - semitones for n in part] for part in other.parts] == [
            [n.pitch for n in part] for part in piece.parts
        ]
        assert (other.keys[0].tonic - piece.keys[0].tonic - semitones) % 12 == 0
        assert other.keys[0].mode == piece.keys[0].mode and abs(other.keys[0].fifths) <= 6


def test_chorales_have_the_bars_and_voices_of_their_scores() -> None:
    data = ChoraleNotes(modality=Notes(), pieces=2)
    assert 1 <= len(data) <= 2
    for index in range(len(data)):
        item = data[index]
        path = next(p for p in corpus() if p.stem == item["id"])
        score = music21.converter.parse(path)
        assert isinstance(score, music21.stream.Score)
        for part, notes in zip(score.parts, piece_of(item["media"]).parts, strict=True):
            found = [
                (float(n.offset) * 4, n.pitch.midi) for n in part.stripTies().flatten().notes if n.offset < 32
            ]
            assert found == [(n.onset, n.pitch) for n in notes]
        bars = [bar.offset * 4 for bar in score.parts[0].getElementsByClass("Measure") if bar.offset < 32]
        assert piece_of(item["media"]).bars in (tuple(map(int, bars)), tuple(map(int, bars[1:])))


def test_folders_of_midi_and_scores_are_datasets(tmp_path: Path) -> None:
    modality = Notes()
    for k, suffix in enumerate((".mid", ".musicxml", ".mid")):
        modality.write(roll_of(composed(k, "chorale", 4)), tmp_path / f"piece{k}{suffix}")
        (tmp_path / f"piece{k}.txt").write_text(f"piece number {k}")
    (tmp_path / "broken.mid").write_bytes(b"MThd\0\0\0\6\0\1")
    folder = build("dataset", Part("folder", {"path": str(tmp_path)}), given={"modality": modality})
    assert [Path(name).name for name in folder.bad] == ["broken.mid"]
    assert len({folder[k]["id"].partition("@")[0] for k in range(len(folder))}) == 3
    item = folder[0]
    assert item["text"].startswith("piece number") and item["media"].shape == (1, 128, 5, 128)
    drawn = folder.draw(0, torch.Generator().manual_seed(1))
    assert drawn["media"].shape == (1, 128, 5, 128)


def test_wrong_settings_are_refused() -> None:
    for modality in (Notes(parts=2), build("modality", Part("audio", {}))):
        with pytest.raises(RecipeError, match="notes of 4 parts"):
            build("dataset", Part("composed_notes", {}), given={"modality": modality})
    with pytest.raises(RecipeError, match="0 to 6"):
        ComposedNotes(modality=Notes(), pieces=1, transpose=7)
    with pytest.raises(RecipeError, match="chorale"):
        ComposedNotes(modality=Notes(), pieces=1, textures=("fugue",))
