"""Picture masks: three conventions, told apart by the file."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen.errors import MultigenError
from multigen.generation.picture_mask import picture_mask
from multigen.modalities.raster import from_levels

HOLE = np.zeros((64, 64), bool)
HOLE[20:44, 20:44] = True
LEVELS = np.kron(np.random.default_rng(0).integers(0, 256, (16, 16, 3)), np.ones((4, 4, 1))).astype(np.uint8)
MEDIUM = from_levels(LEVELS)


def layer(colours: np.ndarray | tuple[int, int, int], opaque: np.ndarray) -> PillowImage.Image:
    levels = np.zeros((64, 64, 4), np.uint8)
    levels[..., :3] = colours
    levels[..., 3] = 255 * opaque
    return PillowImage.fromarray(levels)


def kept(tmp_path: Path, picture: PillowImage.Image, meaning: str | None = None) -> torch.Tensor:
    picture.save(tmp_path / "mask.png")
    return picture_mask(tmp_path / "mask.png", MEDIUM, meaning)


GREY = PillowImage.fromarray((HOLE * 255).astype(np.uint8))
MASKS = {
    "grey": GREY,
    "one bit": GREY.convert("1"),
    "colours": GREY.convert("RGB"),
    "palette": GREY.convert("P"),
    "16 bits": PillowImage.fromarray((HOLE * 65535).astype(np.uint16)),
    "opaque alpha": GREY.convert("RGBA"),
    "white brush": layer((255, 255, 255), HOLE),
    "red brush": layer((250, 10, 10), HOLE),
    "black brush": layer((0, 0, 0), HOLE),
    "erased copy": layer(LEVELS, ~HOLE),
    "twice the size": GREY.resize((128, 128)),
    "half the size": GREY.resize((32, 32)),
}


@pytest.mark.parametrize("name", MASKS)
def test_every_kind_of_mask_makes_the_hole_anew(tmp_path: Path, name: str) -> None:
    assert np.array_equal(~kept(tmp_path, MASKS[name]).numpy(), HOLE)


def test_the_kind_and_another_size_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="multigen"):
        for name in ("white brush", "erased copy", "twice the size"):
            kept(tmp_path, MASKS[name])
    brush, eraser, size = caplog.messages
    assert "what is opaque is made anew" in brush
    assert "what is transparent is made anew" in eraser
    assert "128 x 128 pixels, resized to the medium's 64 x 64" in size


def test_what_is_neither_is_refused_until_its_meaning_is_given(tmp_path: Path) -> None:
    two = layer((0, 0, 0), np.ones((64, 64), bool))
    levels = np.array(two)
    levels[:32, :32, :3], levels[40:, :, 3] = 200, 0  # two colours and some transparency
    for picture in (PillowImage.fromarray(levels), layer((0, 0, 0), np.zeros((64, 64), bool))):
        with pytest.raises(MultigenError, match="mask_is"):
            kept(tmp_path, picture)
    given = PillowImage.fromarray(levels)
    assert bool((kept(tmp_path, given, "white")[:32, :32] == False).all())  # noqa: E712
    assert (~kept(tmp_path, given, "opaque")).sum() == 40 * 64
    assert (~kept(tmp_path, given, "transparent")).sum() == 24 * 64


def test_a_given_meaning_overrides_the_files(tmp_path: Path) -> None:
    assert np.array_equal(kept(tmp_path, MASKS["grey"], "black").numpy(), HOLE)
    assert np.array_equal(kept(tmp_path, MASKS["white brush"], "transparent").numpy(), HOLE)
    assert np.array_equal(kept(tmp_path, MASKS["erased copy"], "opaque").numpy(), HOLE)


def test_a_flat_drawing_with_a_part_erased_is_known_by_its_pixels(tmp_path: Path) -> None:
    """Few colours, but those of the medium: no brush."""
    levels = np.full((64, 64, 3), 255, np.uint8)
    levels[10:50, 10:50] = (200, 30, 30)
    layer(levels, ~HOLE).save(tmp_path / "mask.png")
    found = picture_mask(tmp_path / "mask.png", from_levels(levels))
    assert np.array_equal(~found.numpy(), HOLE)


def test_soft_edges_split_in_the_middle(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (64, 1))
    assert (~kept(tmp_path, PillowImage.fromarray(ramp)))[0].nonzero().flatten().tolist() == list(
        range(32, 64)
    )


def test_a_mask_holds_for_every_frame(tmp_path: Path) -> None:
    MASKS["grey"].save(tmp_path / "mask.png")
    found = picture_mask(tmp_path / "mask.png", MEDIUM[:, None].expand(-1, 5, -1, -1))
    assert found.shape == (5, 64, 64)
    assert np.array_equal(~found[4].numpy(), HOLE)
