"""Settings of music datasets, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from multigen.errors import MultigenError, RecipeError
from multigen.modalities import Modality
from multigen.modalities.general_midi import program


def check_modality(name: str, modality: Modality) -> None:
    """RecipeError unless the modality is sound with one or two channels."""
    shape = modality.shape()
    if len(shape) != 2 or shape[0] > 2:
        raise RecipeError(
            f"{name}: the dataset is sound with one or two channels; the modality must be audio."
        )


def check_settings(slowest: int, fastest: int, pieces: int | None, workers: int) -> None:
    """RecipeError for tempi (quarters per minute), a number of pieces or of workers out of range."""
    if not 20 <= slowest <= fastest <= 300:
        raise RecipeError(
            f"data: tempi from {slowest} to {fastest} are not allowed. Allowed: 20 to 300 bpm, slowest first."
        )
    if pieces is not None and pieces < 1:
        raise RecipeError(f"data.pieces: {pieces} is not allowed. Allowed: 1 or more, or null for all.")
    if workers < 1:
        raise RecipeError(f"data.workers: {workers} is not allowed. Allowed: 1 or more.")


def programs_of(instruments: Sequence[str | int]) -> tuple[int, ...]:
    """Programs of General MIDI names or numbers, without repetitions.

    RecipeError with the nearest name for an unknown one, or if there are none.
    """
    programs = tuple(dict.fromkeys(program(i, "data.instruments") for i in instruments))
    if not programs:
        raise RecipeError(
            "data.instruments: none is given. Allowed: General MIDI names or programs 0 to 127."
        )
    return programs


def soundfont_file(given: str | None, packaged: Path) -> Path:
    """The user's SoundFont, or the packaged one. MultigenError if the file does not exist."""
    path = packaged if given is None else Path(os.path.expanduser(given))
    if not path.is_file():
        raise MultigenError(f"data.soundfont: {path}: no such file")
    return path
