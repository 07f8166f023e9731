"""Patterns of notes: no network and no weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation import notes
from multigen.evaluation.features import Facts, Feature
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Piece, piece_of
from multigen.registry import Given

WIDTH = 12 + 2 * notes.LEAP + 1 + 12 + notes.PLACES + notes.LENGTHS


class NotePatterns(Feature):
    """Notes: degrees of the heard key, steps of the voices, intervals above the bass, places and lengths of notes.

    Each is a histogram of the whole piece whose square roots have length 1 (Hellinger). Transposition and tempo change
    nothing. Compare its figures only with figures of the same extractor.
    """

    def __init__(self, *, modality: Given[Notes]) -> None:
        if modality.name != "notes":
            raise MultigenError(f"note_patterns takes notes; the modality is {modality.name}.")
        self.steps = modality.steps
        takes = f"rolls of {self.steps} steps a quarter"
        self.facts = Facts(
            "note_patterns", WIDTH, takes, "square roots, length 1 each", "Apache-2.0; no weights"
        )

    def __call__(self, media: Tensor) -> Tensor:
        """[B, 1, T, P + 1, 128] -> [B, 1, 77]."""
        rows = np.stack([self._describe(piece_of(one)) for one in media])
        return torch.from_numpy(rows).float().to(media.device)[:, None]

    def _describe(self, piece: Piece) -> np.ndarray:
        found = (
            notes.pitch_classes(piece),
            notes.steps_of_voices(piece),
            notes.chords(piece, self.steps),
            notes.places(piece, self.steps),
            notes.lengths(piece, self.steps),
        )
        return np.concatenate([np.sqrt(notes.shares(counts)) for counts in found])
