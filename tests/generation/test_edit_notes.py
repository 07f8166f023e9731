"""Edits of users' notes: bars are written anew, melodies harmonised, pieces continued; the rest stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.datasets.composed_notes import composed
from multigen.errors import MultigenError
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Piece, piece_of, roll_of
from multigen.model.model import Model
from multigen.recipe.load import load_recipe

TEMPO = 517_241  # 116 bpm, which no model says by itself


@pytest.fixture(scope="module")
def model() -> Model:
    """An untrained one: what it makes anew is nothing like music."""
    small = ["backbone.widths=[16,32]", "conditioner.name=none", "modality.quarters=16", "weights=null"]
    made = Model(load_recipe("notes_chorales", small), device="cpu")
    with torch.no_grad():
        for k, p in enumerate(made.denoiser.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A piece of eleven bars and more, longer than the model makes at once, with a tempo and instruments of its own."""
    piece = composed(0, "chorale", 4)
    piece = Piece(**{**vars(piece), "tempi": ((0, TEMPO),), "programs": (73, 68, 41, 42)})
    path = tmp_path_factory.mktemp("notes") / "mine.mid"
    Notes().write(roll_of(piece), path)
    return path


@pytest.mark.parametrize("words", ["bars 1-2, bars 5-48", "all but bars 3-4", "0:8,16:"])
def test_bars_are_written_anew_and_all_others_stay(
    words: str, model: Model, file: Path, tmp_path: Path
) -> None:
    before = model.modality.read(file)
    measures = len(piece_of(before).measures())
    words = words.replace("48", str(measures))
    (made,) = model.edit(file, keep=words, steps=2, seed=1)
    after = made.tensor
    assert piece_of(before).bars[:5] == (0, 16, 32, 48, 64)
    assert torch.equal(after[:, :32], before[:, :32]) and torch.equal(after[:, 64:], before[:, 64:])
    assert not torch.equal(after[:, 32:64, :4], before[:, 32:64, :4])
    was, now = piece_of(before), piece_of(after)
    assert (now.bars, now.tempi, now.keys, now.programs) == (was.bars, was.tempi, was.keys, was.programs)
    made.save(tmp_path / "new.mid")
    assert torch.equal(Notes().read(tmp_path / "new.mid"), roll_of(now))


def test_a_melody_is_harmonised(model: Model, file: Path, tmp_path: Path) -> None:
    whole = piece_of(model.modality.read(file))
    tune = Piece(**{**vars(whole), "parts": (whole.parts[0], (), (), ())})
    Notes().write(roll_of(tune), tmp_path / "tune.musicxml")
    (made,) = model.edit(tmp_path / "tune.musicxml", keep="soprano", steps=2)
    found = piece_of(made.tensor)
    assert found.parts[0] == tune.parts[0] and all(found.parts[1:])
    assert found.tempi[0][1] == pytest.approx(TEMPO, rel=1e-5) and found.bars == tune.bars


def test_a_piece_goes_on_in_its_own_tempo(model: Model, file: Path) -> None:
    before = model.modality.read(file)
    (made,) = model.edit(file, extend="16", steps=2)
    found = piece_of(made.tensor)
    assert made.tensor.shape[1] == before.shape[1] + 64
    assert torch.equal(made.tensor[:, : before.shape[1]], before)
    assert any(note.onset >= before.shape[1] for part in found.parts for note in part)
    assert found.tempi == ((0, TEMPO),) and found.programs == (73, 68, 41, 42)


def test_a_variation_keeps_metre_tempo_and_instruments(model: Model, file: Path) -> None:
    (made,) = model.edit(file, strength=0.7, steps=6)
    was, now = piece_of(model.modality.read(file)), piece_of(made.tensor)
    assert (now.bars, now.tempi, now.programs) == (
        was.bars,
        was.tempi,
        was.programs,
    ) and now.parts != was.parts


def test_what_is_not_there_is_said(model: Model, file: Path) -> None:
    for words, said in (
        ("bars 90-99", "bars 1 to"),
        ("viola", "soprano"),
        ("0:900", "outside"),
        ("8", "no span"),
    ):
        with pytest.raises(MultigenError, match=said):
            model.edit(file, keep=words, steps=1)


def test_requests_of_one_batch_are_those_alone(model: Model) -> None:
    three = model.generate("", n=3, seed=7, steps=3)
    alone = model.generate("", n=1, seed=8, steps=3)[0]
    assert piece_of(three[1].tensor) == piece_of(alone.tensor)
    assert float(three[0].tensor.min()) == -1 and three[0].tensor.shape == (1, 64, 5, 128)
