from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import pytest
import torch

from multigen.datasets import Dataset, Item, composed_notes
from multigen.datasets.composer import Texture
from multigen.datasets.pieces import transposed
from multigen.errors import MultigenError
from multigen.evaluation import notes
from multigen.evaluation.features.note_patterns import WIDTH
from multigen.evaluation.metrics import Target
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Key, Note, Piece, roll_of
from multigen.registry import Part, build


def _chords(*columns: Sequence[int]) -> Piece:
    """Chords of whole quarters, the highest voice first."""
    parts = tuple(tuple(Note(4 * k, 4, column[row]) for k, column in enumerate(columns)) for row in range(4))
    length = 4 * len(columns)
    return Piece(
        length, parts, tuple(range(0, length, 16)), ((0, 600_000),), (Key(0, 0, "major"),), 4, (19,) * 4
    )


@cache
def composed(seed: int, texture: Texture, steps: int) -> Piece:
    return composed_notes.composed(seed, texture, steps)


class _Three(Dataset):
    """Three pieces, the last of them held out."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Item:
        modality = Notes()
        return {
            "media": modality.fit(roll_of(composed(index, "chorale", 4)), modality.shape()),
            "id": str(index),
        }

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        return [0, 1], [2]


def _metric(name: str):
    return build("metric", Part(name, {}), given={"modality": Notes(), "dataset": _Three()})


C = (72, 67, 64, 48)
G = (71, 67, 62, 55)


def test_keys_and_scales_are_those_of_the_notes() -> None:
    piece = _chords(C, G, (72, 69, 65, 53), C)
    up = transposed(piece, 3)
    targets = [Target("C major, 92 bpm"), Target("E-flat major"), Target("C minor"), Target("92 bpm")]
    media = [roll_of(p) for p in (piece, up, piece, piece)]
    assert _metric("asked_key")(media, targets).values[:3] == (1.0, 1.0, 0.0)
    assert math.isnan(_metric("asked_key")(media, targets).values[3])
    found = _metric("asked_scale")(media, targets).values
    assert found[:2] == (1.0, 1.0) and 0.5 < found[2] < 1


def test_parallels_and_dissonances_are_counted() -> None:
    good = _chords(C, G)
    assert notes.parallels(good, 4) == 0.0
    # Soprano and bass go from an octave to an octave, alto and bass from a fifth to a fifth.
    bad = _chords((72, 67, 64, 48), (74, 69, 64, 50))
    # Three pairs of voices move, two of them in parallel; soprano and alto are a fourth apart.
    assert notes.parallels(bad, 4) == pytest.approx(2 / 3)
    assert notes.dissonance(_chords(C), 4) == 0.0
    assert notes.dissonance(_chords((71, 65, 62, 55)), 4) == pytest.approx(2 / 6)  # b-f, f-g
    contrary = _chords((72, 67, 64, 48), (72, 67, 64, 60))
    assert math.isnan(notes.parallels(contrary, 4))  # one voice alone moves


def test_histograms_are_counted_by_hand() -> None:
    piece = _chords(C, G)
    assert notes.steps_of_voices(piece)[[11, 12, 10, 19]].tolist() == [1, 1, 1, 1]
    assert notes.chords(piece, 4).tolist() == [2, 0, 0, 0, 2, 0, 0, 2, 0, 0, 0, 0]
    assert notes.lengths(piece, 4)[7] == 8 and notes.places(piece, 4)[0] == 8
    third = Piece(4, ((Note(1, 1, 60), Note(2, 2, 60)),), (0,), ((0, 1),), (), 4, (0,))
    assert notes.places(third, 4)[[3, 6]].tolist() == [1, 1]
    assert notes.columns(third, 4) == [[None]]


def test_bars_are_known_at_any_height_and_distances_vanish_for_the_held_out() -> None:
    data = _Three()
    copied = _metric("copied_bars")
    own = data[0]["media"]
    moved = roll_of(transposed(composed(0, "chorale", 4), 2))[:, :128]
    assert copied([own], [Target("")]).value == 1.0
    assert copied([moved], [Target("")]).value == 1.0
    assert copied([data[2]["media"]], [Target("")]).value < 0.2
    for name in ("degree_distance", "step_distance", "rhythm_distance"):
        metric = _metric(name)
        assert metric([data[2]["media"]], [Target("")]).value == pytest.approx(0, abs=1e-12)
        noise = roll_of(_chords(*[(90 - k, 80, 41 + 5 * (k % 3), 30 + k) for k in range(16)]))
        assert metric([noise], [Target("")]).value > 0.2


def test_patterns_are_the_same_in_any_key_and_batch() -> None:
    feature = build("feature", Part("note_patterns", {}), given={"modality": Notes()})
    piece = composed(1, "chorale", 4)
    media = torch.stack(
        [
            Notes().fit(roll_of(p), Notes().shape())
            for p in (piece, transposed(piece, 4), composed(2, "chorale", 4))
        ]
    )
    found = feature(media)
    assert found.shape == (3, 1, WIDTH) and torch.allclose(found[0], found[1], atol=1e-6)
    assert torch.equal(feature(media[2:])[0], found[2]) and float((found[0] - found[2]).norm()) > 0.1


def test_other_modalities_are_refused() -> None:
    audio = build("modality", Part("audio", {}))
    with pytest.raises(MultigenError, match="takes notes"):
        build("metric", Part("asked_key", {}), given={"modality": audio, "dataset": _Three()})
    with pytest.raises(MultigenError, match="takes notes"):
        build("feature", Part("note_patterns", {}), given={"modality": audio})
