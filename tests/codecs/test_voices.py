from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from multigen.codecs.voices import Voices
from multigen.datasets.composed_notes import composed
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Key, Note, Piece, piece_of, roll_of
from multigen.registry import Part, build


def _whole(piece: Piece, quarters: int = 32) -> torch.Tensor:
    modality = Notes()
    return modality.fit(roll_of(piece), modality.shape(duration=quarters))


@pytest.mark.parametrize("seed", range(6))
def test_composed_pieces_come_back_exactly(seed: int) -> None:
    piece = composed(seed, "song" if seed % 2 else "chorale", 4)
    codec, roll = Voices(modality=Notes()), _whole(piece)
    found = codec.decode(codec.encode(roll[None]))[0]
    wanted = piece_of(roll)
    assert piece_of(found).parts == wanted.parts
    assert piece_of(found).bars == wanted.bars and piece_of(found).keys == wanted.keys
    assert piece_of(found).tempi == ((0, 600_000),) and piece_of(found).programs == (19,) * 4


@pytest.mark.parametrize("fold", [1, 4, 8])
def test_shapes_masks_and_media_agree(fold: int) -> None:
    codec = Voices(modality=Notes(), fold=fold)
    assert codec.shape((1, 128, 5, 128)) == (15 * fold, 128 // fold, 5)
    assert codec.whole((1, 33, 5, 128)) == (1, -(-33 // fold) * fold, 5, 128)
    roll = _whole(composed(0, "chorale", 4))
    x = codec.encode(roll[None])
    keep = torch.ones(128, 5, 128, dtype=torch.bool)
    keep[40:56, 1] = False
    keep[64:72] = False
    keep[9, 4, 3] = False
    mask = codec.latent_mask(keep)
    assert mask.shape == x.shape[2:]
    # What is not kept has no influence where the mask says that all is kept.
    changed = torch.where(keep, roll, -roll)
    other = codec.encode(changed[None])
    assert torch.equal(x[0, :, mask], other[0, :, mask]) and not torch.equal(x, other)
    with pytest.raises(ValueError, match="fold"):
        Voices(modality=Notes(), fold=8).shape((1, 130, 5, 128))


def test_small_noise_changes_nothing_and_much_still_gives_a_piece() -> None:
    codec, roll = Voices(modality=Notes()), _whole(composed(3, "chorale", 4))
    x = codec.encode(roll[None])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(codec.decode(x + 0.1 * noise), codec.decode(x))
    made = codec.decode(3 * noise)
    piece = piece_of(made[0])
    assert torch.equal(roll_of(piece), made[0]) and all(piece.parts)
    assert len({b - a for a, b in pairwise(piece.bars)}) == 1


def test_each_channel_has_about_unit_variance() -> None:
    codec = Voices(modality=Notes())
    x = torch.stack([codec.encode(_whole(composed(k, "chorale", 4))[None])[0] for k in range(8)])
    assert 0.8 < float(x.std()) < 1.2 and float(x.mean().abs()) < 0.15


@pytest.mark.parametrize(("metre", "pickup"), [(2, 0), (3, 0), (3, 2), (4, 1), (4, 0), (6, 3)])
def test_metre_and_pickup_are_found_where_bars_are_missing_or_too_many(metre: int, pickup: int) -> None:
    length = 128
    bars = tuple(range(4 * pickup, length, 4 * metre))
    note = (Note(0, 128, 60),)
    piece = Piece(length, (note,) * 4, bars, ((0, 500_000),), (Key(0, 0, "major"),), 4, (19,) * 4)
    codec = Voices(modality=Notes())
    x = codec.encode(roll_of(piece)[None])
    onsets = x[0, 14, :, 4]  # bar lines on the quarters, in the conductor's row
    onsets[bars[2] // 4] = -1
    onsets[bars[3] // 4 + 1] = 1
    assert piece_of(codec.decode(x)[0]).bars == bars


def test_pitches_and_octaves_are_those_of_midi() -> None:
    codec, notes = Voices(modality=Notes(parts=1)), tuple(Note(k, 1, k) for k in range(128))
    piece = Piece(128, (notes,), (0,), ((0, 500_000),), (Key(0, 0, "major"),), 4, (19,))
    assert piece_of(codec.decode(codec.encode(roll_of(piece)[None]))[0]).parts == (notes,)


def test_other_modalities_are_refused() -> None:
    image = build("modality", Part("image", {"size": 8}))
    with pytest.raises(Exception, match=r"modality\.name=notes"):
        build("codec", Part("voices", {}), given={"modality": image})
