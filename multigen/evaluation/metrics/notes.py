"""Notes: are they in the key that was asked for, led as voices are, and no copies of the training?"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.evaluation import notes
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.modalities.general_midi import key_in
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Piece, piece_of
from multigen.registry import Given

_DRAWS = 4  # parts of each piece of the training whose bars are known


class _NoteMetric(Metric):
    """A measure of each piece on its own."""

    reads = "media"
    name: str  # as in a recipe

    def __init__(self, *, modality: Given[Notes], dataset: Given[Dataset]) -> None:
        if modality.name != "notes":
            raise RecipeError(f"evaluate.metrics: {self.name} takes notes; the modality is {modality.name}")
        self.steps, self.dataset = modality.steps, dataset

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """The measure of each roll [1, T, P + 1, 128]."""
        pairs = zip(media, targets, strict=True)
        return Score.of([self.measure(piece_of(one), target) for one, target in pairs])

    @abstractmethod
    def measure(self, piece: Piece, target: Target) -> float:
        """The value of one piece; NaN if the measure does not apply."""


class AskedKey(_NoteMetric):
    """Whether the key that fits the notes best is the one that the prompt names (Krumhansl 1990)."""

    name = "asked_key"
    better = "higher"
    reads = "prompt"
    about = "share of pieces whose notes are in the key that was asked for"

    def measure(self, piece: Piece, target: Target) -> float:
        """1 or 0; NaN where no key is asked for."""
        asked = key_in(target.prompt)
        return math.nan if asked is None else float(notes.heard_key(piece) == asked)


class AskedScale(_NoteMetric):
    """Share of the sounding time on the scale of the key that the prompt names."""

    name = "asked_scale"
    better = "real"
    reads = "prompt"
    about = "share of the notes' time on the scale that was asked for"

    def measure(self, piece: Piece, target: Target) -> float:
        """Share; NaN where no key is asked for, and for rests alone."""
        asked = key_in(target.prompt)
        return math.nan if asked is None else notes.scale_share(piece, asked)


class Dissonance(_NoteMetric):
    """Share of the pairs of voices that sound a second, seventh or tritone on the quarters."""

    name = "dissonance"
    better = "real"
    about = "share of pairs of voices a second, seventh or tritone apart"

    def measure(self, piece: Piece, target: Target) -> float:
        """Share; NaN without pairs."""
        return notes.dissonance(piece, self.steps)


class Parallels(_NoteMetric):
    """Share of the moves of two voices that are parallel fifths, octaves or unisons."""

    name = "parallels"
    better = "real"
    about = "share of moves of two voices in parallel fifths or octaves"

    def measure(self, piece: Piece, target: Target) -> float:
        """Share; NaN where no two voices move."""
        return notes.parallels(piece, self.steps)


class CopiedBars(_NoteMetric):
    """Share of a piece's bars that stand in the training as they are, or transposed."""

    name = "copied_bars"
    better = "real"
    about = "share of bars that training has, at any pitch"

    def __init__(self, *, modality: Given[Notes], dataset: Given[Dataset]) -> None:
        super().__init__(modality=modality, dataset=dataset)
        self._known: set[notes.Pattern] | None = None

    def measure(self, piece: Piece, target: Target) -> float:
        """Share; NaN for a piece without whole bars of four notes and more."""
        known = self._bars()
        found = [bar in known for bar in notes.bars_of(piece)]
        return sum(found) / len(found) if found else math.nan

    def _bars(self) -> set[notes.Pattern]:
        """The bars of the training: of each item as it is, and of some parts of it that training may draw."""
        if self._known is None:
            train = self.dataset.split()[0]
            media = [self.dataset[k]["media"] for k in train]
            for k in train:
                media += [self.dataset.draw(k, stream(turn, "bars", k))["media"] for turn in range(_DRAWS)]
            self._known = {bar for one in media for bar in notes.bars_of(piece_of(one))}
        return self._known


class _Distance(_NoteMetric):
    """Total variation between a histogram of the whole set and that of the pieces that are held out."""

    better = "lower"

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """One value for the set: 0 is the same, 1 has nothing in common."""
        held = self.dataset.split()[1] or self.dataset.split()[0]
        real = self._share([piece_of(self.dataset[k]["media"]) for k in held])
        return Score.of([float(np.abs(self._share([piece_of(one) for one in media]) - real).sum() / 2)])

    def measure(self, piece: Piece, target: Target) -> float:
        """Not used: the set is measured as a whole."""
        return math.nan

    def _share(self, pieces: Sequence[Piece]) -> np.ndarray:
        count = self.counts()
        return notes.shares(np.sum([count(piece) for piece in pieces], 0))

    @abstractmethod
    def counts(self) -> Callable[[Piece], np.ndarray]:
        """What counts a piece's notes."""


class DegreeDistance(_Distance):
    """How long each degree of the heard key sounds, against the pieces that are held out."""

    name = "degree_distance"
    about = "distance of the degrees of the scale from held-out pieces"

    def counts(self) -> Callable[[Piece], np.ndarray]:
        """Degrees."""
        return notes.pitch_classes


class StepDistance(_Distance):
    """By which intervals voices move, against the pieces that are held out."""

    name = "step_distance"
    about = "distance of the steps of voices from held-out pieces"

    def counts(self) -> Callable[[Piece], np.ndarray]:
        """Intervals."""
        return notes.steps_of_voices


class RhythmDistance(_Distance):
    """Where notes begin and how long they are, against the pieces that are held out."""

    name = "rhythm_distance"
    about = "distance of onsets and lengths from held-out pieces"

    def counts(self) -> Callable[[Piece], np.ndarray]:
        """Places in the quarter and lengths, one after the other."""
        return lambda piece: np.concatenate(
            [notes.places(piece, self.steps), notes.lengths(piece, self.steps)]
        )
