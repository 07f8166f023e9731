"""`multigen sample --per-class`: what it writes is a labelled data set that the folder recipe reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.cli.main import main
from multigen.datasets.folder import Folder
from multigen.modalities.image import Image
from multigen.recipe.manifest import verify
from multigen.runs.class_folders import _folders


def test_a_set_is_read_back_with_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["sample", "image_digits", "--per-class", "2", "--steps", "2", "--quiet", "--device", "cpu"]
    assert main([*argv, "--out", "set"]) == 0
    assert capsys.readouterr().out == "set\n"
    assert verify(Path("set")) == []
    data = Folder(modality=Image(size=28, channels=1), path="set", held_out=0.0)
    assert list(data.classes) == [str(k) for k in range(10)]
    assert sorted(data[k]["label"] for k in range(len(data))) == sorted([*range(10)] * 2)
    # The pictures are those that the same request makes, in order.
    assert main(["sample", "image_digits", "--prompt", "0", "-n", "2", *argv[4:], "--out", "zero"]) == 0
    image = Image(size=28, channels=1)
    made = [image.read(p) for p in sorted(Path("zero/media").glob("*.png"))]
    kept = [image.read(p) for p in sorted(Path("set/0").glob("*.png"))]
    assert all(torch.equal(a, b) for a, b in zip(made, kept, strict=True))
    before = sorted((p, p.stat().st_mtime_ns) for p in Path("set").rglob("*.png"))
    assert main([*argv, "--out", "set"]) == 0  # all is there
    assert sorted((p, p.stat().st_mtime_ns) for p in Path("set").rglob("*.png")) == before
    capsys.readouterr()
    assert main([*argv[:3], "3", *argv[4:], "--out", "set"]) == 2
    assert "another command (n: 2 -> 3)" in capsys.readouterr().err
    Path("mine").mkdir()
    Path("mine", "notes.txt").write_text("mine")
    assert main([*argv, "--out", "mine"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main([*argv]) == 2
    assert "--out DIR" in capsys.readouterr().err


def test_folder_names() -> None:
    assert _folders(["cat", "../x", "a/b", "a b", ""]) == ["cat", "x", "a-b-2", "a-b-3", "class"]
