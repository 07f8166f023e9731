"""A small untrained model of notes, and a piece of a user's, for tests of servers."""

from __future__ import annotations

from pathlib import Path

from multigen.datasets.composed_notes import composed
from multigen.modalities.notes import Notes
from multigen.modalities.roll import roll_of
from multigen.model.model import Model
from multigen.recipe.load import load_recipe

SMALL = ["weights=null", "modality.quarters=16", "backbone.widths=[16,32]", "backbone.attention=[false,true]"]


def saved_notes(folder: Path) -> str:
    """The model, as a file."""
    model = Model(load_recipe("notes_chorales", SMALL), device="cpu")
    return str(model.save(folder / "notes.safetensors"))


def written_piece(folder: Path) -> Path:
    """A piece of four voices, as MIDI."""
    path = folder / "mine.mid"
    Notes().write(roll_of(composed(5, "chorale", 4)), path)
    return path
