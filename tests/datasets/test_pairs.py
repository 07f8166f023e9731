"""Pairs of pictures: found by name or by metadata, cut alike, refused where they do not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from multigen.datasets.pairs import Pairs
from multigen.errors import MediaError, RecipeError
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image as Pictures


def halves(path: Path, left: tuple[int, int, int], size: tuple[int, int] = (32, 16)) -> None:
    """A picture whose left half has a colour, and whose right half is black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    image.save(path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("a", "b/c", "alone"):
        halves(tmp_path / "pictures" / f"{name}.png", (255, 0, 0))
        (tmp_path / "pictures" / f"{name}.txt").write_text(f"{name} left\nit is {name}")
    halves(tmp_path / "edges" / "a.jpg", (0, 0, 255), (64, 32))  # of another size, and of the same shape
    halves(tmp_path / "edges" / "b" / "c.png", (0, 0, 255))
    return tmp_path


def test_by_name(home: Path) -> None:
    data = Pairs(
        modality=Pictures(size=8),
        path=str(home / "pictures"),
        controls=str(home / "edges"),
        held_out=0,
        flip=True,
    )
    assert len(data) == 2 and data.split() == ([0, 1], [])
    item = data[0]
    assert item["id"] == "a.png" and item.get("text") == "a left"
    assert item["control"].shape == item["media"].shape == (3, 8, 8)
    draws = [data.draw(1, torch.Generator().manual_seed(k)) for k in range(12)]
    assert {draw.get("text") for draw in draws} == {"b/c left", "it is b/c"}
    sides = set()
    for draw in draws:  # both are mirrored, or neither
        red, blue = (draw[key][channel].mean(0) > 0 for key, channel in (("media", 0), ("control", 2)))
        assert torch.equal(red, blue)
        sides.add(bool(red[0]))
    assert sides == {True, False}


def test_by_metadata_within_one_folder(home: Path) -> None:
    """The control pictures lie among the pictures, and are none themselves."""
    root = home / "pictures"
    halves(root / "controls" / "x.png", (0, 0, 255))
    rows = [{"file_name": "a.png", "text": "one", "control": "controls/x.png"}, {"file_name": "b/c.png"}]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = Pairs(modality=Pictures(size=8), path=str(root), held_out=0)
    assert [data[k]["id"] for k in range(len(data))] == ["a.png"]
    assert data[0]["control"][2].max() > 0.9 > data[0]["media"][2].max()
    (root / "metadata.jsonl").write_text('{"file_name": "a.png", "conditioning_image": "../edges/a.jpg"}')
    with pytest.raises(
        RecipeError, match=r"line 1: control '../edges/a.jpg' is not allowed. Allowed: a path inside"
    ):
        Pairs(modality=Pictures(size=8), path=str(root))


def test_what_is_no_pair(home: Path) -> None:
    with pytest.raises(
        RecipeError, match='none of the 3 pictures has a control picture by a "control" in metadata'
    ):
        Pairs(modality=Pictures(size=8), path=str(home / "pictures"))
    (home / "empty").mkdir()
    with pytest.raises(RecipeError, match="none of the 3 pictures has a control picture in .*empty"):
        Pairs(modality=Pictures(size=8), path=str(home / "pictures"), controls=str(home / "empty"))
    with pytest.raises(ValueError, match="pairs: audio is not allowed. Allowed: image"):
        Pairs(modality=Audio(), path=str(home / "pictures"))
    halves(home / "edges" / "a.jpg", (0, 0, 255), (40, 32))
    data = Pairs(modality=Pictures(size=8), path=str(home / "pictures"), controls=str(home / "edges"))
    with pytest.raises(
        MediaError, match=r"a.jpg: 40 x 32 pixels, and a.png has 32 x 16; a pair has one shape"
    ):
        data[0]
