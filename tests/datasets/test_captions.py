"""Captions where people and other programs put them, and what is said of a folder before training."""

from __future__ import annotations

import importlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from multigen.datasets.folder import Folder
from multigen.errors import RecipeError
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from tests.datasets.test_folder import paint, play


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if name.lower().endswith("png") else "JPEG"
        PillowImage.new("RGB", (8, 8), (200, 30, 30)).save(root / name, kind)


def captions(root: Path, **settings: str) -> dict[str, tuple[str, ...]]:
    data = Folder(modality=Image(size=8), path=str(root), **settings)  # pyright: ignore[reportArgumentType]
    told = [data.told(k) for k in range(len(data.durations()))]
    return {t.name: tuple(t.texts) for t in told}


@pytest.mark.parametrize(
    ("picture", "text"),
    [("IMG_1.JPG", "IMG_1.TXT"), ("a.jpg", "a.jpg.txt"), ("a.jpg", "a.caption"), ("a.jpg", "a.JPG.caption"),
     ("a.jpg", "a.txt"), ("IMG_1.JPG", "img_1.txt"), ("cafe\u0301.jpg", "caf\u00e9.txt"), ("sub/a.png", "sub/A.Txt")],
)  # fmt: skip
@pytest.mark.parametrize("how", ["auto", "txt"])
def test_texts_beside_pictures(tmp_path: Path, picture: str, text: str, how: str) -> None:
    pictures(tmp_path, picture)
    (tmp_path / text).write_text("a red square\nred\n")
    assert captions(tmp_path, captions=how) == {picture: ("a red square", "red")}


def test_the_nearest_name_wins_and_none_is_taken_from_another(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "A.jpg", "b.jpg", "c.jpg", "C.png")
    for name, text in {"a.txt": "small", "b.jpg.txt": "long", "b.txt": "short", "c.txt": "c"}.items():
        (tmp_path / name).write_text(text)
    found = captions(tmp_path)
    assert found == {
        "A.jpg": ("",),
        "C.png": ("",),
        "a.jpg": ("small",),
        "b.jpg": ("short",),
        "c.jpg": ("c",),
    }


@pytest.mark.parametrize("key", ["file_name", "filename", "file", "image", "path"])
@pytest.mark.parametrize("text", ["text", "caption", "prompt"])
def test_jsonl_with_the_keys_of_other_programs(tmp_path: Path, key: str, text: str) -> None:
    pictures(tmp_path, "a0.jpg", "a1.jpg")
    rows = [{key: f"a{k}.jpg", text: f"red {k}"} for k in range(2)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert captions(tmp_path) == {"a0.jpg": ("red 0",), "a1.jpg": ("red 1",)}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables(tmp_path: Path, delimiter: str) -> None:
    pictures(tmp_path, "a0.jpg", "sub/a1.jpg", "a2.jpg")
    head = delimiter.join(["File_Name", "text", "label"])
    rows = [
        f'a0.jpg{delimiter}"a red square{delimiter} number 0"{delimiter}cat',
        delimiter.join(["sub\\a1.jpg", "one", "dog"]),
    ]
    rows += [delimiter.join(["a2.jpg", '"two\nlines ""here"""', "cat"]), ""]
    (tmp_path / "metadata.csv").write_bytes("\r\n".join(["\ufeff" + head, *rows]).encode())
    data = Folder(modality=Image(size=8), path=str(tmp_path))
    told = {t.name: (tuple(t.texts), t.label) for t in map(data.told, range(3))}
    assert data.classes == ("cat", "dog")
    assert told == {
        "a0.jpg": (
            (f"a red square{delimiter.strip()} number 0",)
            if delimiter != "\t"
            else ("a red square number 0",),
            0,
        ),
        "a2.jpg": (('two lines "here"',), 0),
        "sub/a1.jpg": (("one",), 1),
    }


def test_tables_name_their_faults(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    table = tmp_path / "metadata.csv"
    for content, why in (
        ("picture,text\na.jpg,red\n", "line 2: no \"file_name\".*Found: 'picture', 'text'"),
        ("file_name,text\n../a.jpg,red\n", "line 2: file_name .* is not allowed"),
        (f"file_name,text\na.jpg,{'x' * 200_000}\n", "line 2: not a row of a table"),
    ):
        table.write_text(content)
        with pytest.raises(RecipeError, match=rf"metadata\.csv, {why}"):
            captions(tmp_path)
    table.write_text("file_name,label\na.jpg,3\n")
    assert Folder(modality=Image(size=8), path=str(tmp_path)).told(0).label == 3


@pytest.mark.parametrize(
    ("file", "written"),
    [("train/a.jpg", "train\\a.jpg"), ("a.JPG", "a.jpg"), ("cafe\u0301.jpg", "caf\u00e9.jpg"),
     ("caf\u00e9.jpg", "cafe\u0301.jpg"), ("Train/A.jpg", "train\\a.JPG"), ("ÉTÉ.jpg", "e\u0301te\u0301.jpg")],
)  # fmt: skip
def test_names_in_metadata_as_other_systems_spell_them(tmp_path: Path, file: str, written: str) -> None:
    pictures(tmp_path, file)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": written, "text": "red"}) + "\n")
    data = Folder(modality=Image(size=8), path=str(tmp_path))
    assert data.told(0).texts == ("red",)
    assert data.bad == {}


def test_a_name_that_fits_two_files_fits_none(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "A.jpg")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.JPG", "text": "red"}) + "\n")
    data = Folder(modality=Image(size=8), path=str(tmp_path))
    assert [data.told(k).texts for k in range(2)] == [("",), ("",)]
    assert "no such file" in data.bad[str(tmp_path / "a.JPG")]


def test_a_folder_is_summed_up(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"a{k}.jpg" for k in range(5)))
    (tmp_path / "a0.txt").write_text("red")
    (tmp_path / "a1.txt").write_text("")
    rows = [{"file_name": f"a{k}.jpg", "text": "red"} for k in (3, 9)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a4.jpg").write_bytes(b"no picture")
    for name in ("x.jxl", "y.jxl", "z.psd", "metadata.xlsx"):
        (tmp_path / name).write_bytes(b"x")
    data = Folder(modality=Image(size=8), path=str(tmp_path))
    assert data.captioned() == 2
    assert data.summary() == (
        "4 pictures, 2 with captions, 2 skipped: a9.jpg, a4.jpg; "
        "other files, which are not read: 2 .jxl, 1 .psd, 1 metadata.xlsx"
    )
    play(tmp_path / "sound" / "a.wav", 0.1)
    assert Folder(modality=Audio(), path=str(tmp_path / "sound")).summary() == "1 sound, 0 with captions"


def test_many_that_are_skipped_are_not_all_named(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    for k in range(20):
        (tmp_path / f"b{k:02}.png").write_bytes(b"x")
    data = Folder(modality=Image(size=8), path=str(tmp_path))
    assert data.summary() == "1 picture, 0 with captions, 20 skipped: b00.png, b01.png, b02.png and 17 more"


# --- multigen's own results -----------------------------------------------------------------------------------


def test_runs_and_samples_inside_the_folder_are_no_training_media(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path / "runs" / "image_folder" / "previews" / "step-1.png")
    paint(tmp_path / "runs" / "image_folder" / "media" / "000.png")
    (tmp_path / "runs" / "image_folder" / "recipe.yaml").write_text("name: x\n")
    paint(tmp_path / "samples-1" / "000.png")
    (tmp_path / "samples-1" / "000.txt").write_text("no caption of anything")
    entry = {"recipe": "x", "recipe_hash": "0", "weights_hash": "0", "file": "000.png"}
    (tmp_path / "samples-1" / "manifest.json").write_text(json.dumps({"format": 1, "files": [entry]}))
    # What only looks like it stays: a recipe among pictures, a manifest of another program.
    paint(tmp_path / "mine" / "b.png")
    (tmp_path / "mine" / "recipe.yaml").write_text("name: x\n")
    paint(tmp_path / "web" / "icon.png")
    (tmp_path / "web" / "manifest.json").write_text('{"name": "app", "icons": []}')
    data = Folder(modality=Image(size=8), path=str(tmp_path))
    assert [data.told(k).name for k in range(len(data))] == ["a.png", "mine/b.png", "web/icon.png"]
    assert data.summary().endswith("; left out, as multigen made them: runs/image_folder, samples-1")
    # On request they are media like others.
    assert len(Folder(modality=Image(size=8), path=str(tmp_path / "samples-1"))) == 1
    assert len(Folder(modality=Image(size=8), path=str(tmp_path / "runs" / "image_folder"))) == 2


def test_a_folder_of_results_alone_says_so(tmp_path: Path) -> None:
    paint(tmp_path / "run" / "media" / "000.png")
    (tmp_path / "run" / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(RecipeError, match=r"no image files .* 1 folders of multigen's own results"):
        Folder(modality=Image(size=8), path=str(tmp_path))


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
def test_parquet(tmp_path: Path) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    pictures(tmp_path, "a0.jpg", "sub/a1.jpg")
    columns = {
        "File_Name": ["a0.jpg", "sub/a1.jpg"],
        "text": [["red 0", "crimson 0"], ["blue 1"]],
        "label": ["cat", "dog"],
        "image": [{"bytes": b"x", "path": "a0.jpg"}, {"bytes": b"y", "path": None}],
        "width": [8, 8],
    }
    parquet.write_table(arrow.table(columns), tmp_path / "metadata.parquet")
    data = Folder(modality=Image(size=8), path=str(tmp_path))
    told = {t.name: (tuple(t.texts), t.label) for t in map(data.told, range(2))}
    assert data.classes == ("cat", "dog")
    assert told == {"a0.jpg": (("red 0", "crimson 0"), 0), "sub/a1.jpg": (("blue 1",), 1)}
    columns = {"file_name": ["a0.jpg", "../a.jpg"], "text": ["red", "blue"]}
    parquet.write_table(arrow.table(columns), tmp_path / "metadata.parquet")
    with pytest.raises(RecipeError, match=r"metadata\.parquet, row 2: file_name .* is not allowed"):
        captions(tmp_path)
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(RecipeError, match=r"metadata\.parquet: cannot be read"):
        captions(tmp_path)


def test_parquet_without_pyarrow_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr("multigen.datasets.parquet.find_spec", lambda name: None)
    with pytest.raises(
        RecipeError, match=r"metadata\.parquet: needs the package pyarrow: pip install pyarrow"
    ):
        captions(tmp_path)
    Folder(modality=Image(size=8), path=str(tmp_path), captions="none", labels="none")  # it is not read
