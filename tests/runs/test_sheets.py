"""Sprite sheets: made of samples and of clips, cut where JSON or a grid says, trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.cli.main import main
from multigen.datasets.folder import Folder
from multigen.errors import MultigenError
from multigen.modalities.image import Image
from multigen.modalities.sprite_sheet import arranged, cut, from_json, grid_cells, to_json
from multigen.modalities.video import Video
from multigen.runs.sheets import _caption, _numbered, cut_sheet, make_sheet

RGBA = Image(size=8, channels=4)


def sprite(level: int, side: int = 8) -> Tensor:
    levels = np.full((side, side, 4), level, np.uint8)
    levels[0, :, 3] = 0
    levels[1:, :, 3] = 255
    return torch.from_numpy(levels).float().movedim(-1, 0) / 127.5 - 1


def test_there_and_back(tmp_path: Path) -> None:
    """Pictures of a folder on a sheet, and the same again from it, with captions that training reads."""
    (tmp_path / "in").mkdir()
    for name, level in (("red_knight", 30), ("blue_knight", 90), ("tree", 200)):
        RGBA.write(sprite(level), tmp_path / "in" / f"{name}.png")
    sheet = make_sheet(tmp_path / "in", tmp_path / "all.png", columns=2, gap=1)
    with PillowImage.open(sheet) as file:
        assert (file.mode, file.size) == ("RGBA", (17, 17))
        assert np.asarray(file)[:, 8, 3].max() == 0  # the gap is clear
    places = json.loads((tmp_path / "all.json").read_text())
    assert places["frames"][2] == {"filename": "tree", "frame": {"x": 0, "y": 9, "w": 8, "h": 8}}
    assert places["meta"]["size"] == {"w": 17, "h": 17}
    assert cut_sheet(sheet, tmp_path / "out") == 3
    data = Folder(modality=RGBA, path=str(tmp_path / "out"), held_out=0)
    assert [data[k].get("text") for k in range(3)] == ["blue knight", "red knight", "tree"]
    assert torch.equal(data[1]["media"][3], sprite(30)[3])
    assert torch.equal(data[1]["media"][:3, 1:], sprite(30)[:3, 1:])


def test_a_sheet_without_json_is_cut_by_cells_or_grid(tmp_path: Path) -> None:
    sheet, _ = arranged([sprite(30), sprite(60), sprite(90)], ["", "", ""], columns=2)
    RGBA.write(sheet, tmp_path / "tiles.png")
    assert main(["sheet", str(tmp_path / "tiles.png"), str(tmp_path / "a"), "--cut", "--cell", "8"]) == 0
    assert main(["sheet", str(tmp_path / "tiles.png"), str(tmp_path / "b"), "--cut", "--grid", "2x2"]) == 0
    names = ["0000_00-00.png", "0001_00-01.png", "0002_01-00.png"]  # the clear fourth is none
    for folder in ("a", "b"):
        assert sorted(p.name for p in (tmp_path / folder).iterdir() if p.suffix == ".png") == names
        assert torch.equal(
            RGBA.read(tmp_path / folder / names[2]), RGBA.read(tmp_path / "tiles.png")[:, 8:, :8]
        )


def test_frames_of_a_clip_have_their_duration(tmp_path: Path) -> None:
    clip = torch.linspace(-1, 1, 5).view(1, 5, 1, 1).expand(3, 5, 16, 24).contiguous()
    Video(fps=8).write(clip, tmp_path / "walk.gif")
    assert main(["sheet", str(tmp_path / "walk.gif"), str(tmp_path / "walk.png"), "--columns", "5"]) == 0
    places = json.loads((tmp_path / "walk.json").read_text())["frames"]
    assert [one["filename"] for one in places] == [f"walk {k}" for k in range(5)]
    assert {one["duration"] for one in places} <= {120, 130}  # GIF counts hundredths of a second
    levels = np.asarray(PillowImage.open(tmp_path / "walk.png"))
    assert levels.shape == (16, 120, 4) and (np.diff(levels[8, 12::24, 0].astype(int)) > 40).all()


def test_samples_are_put_on_a_sheet_with_their_prompts(tmp_path: Path) -> None:
    out = tmp_path / "samples"
    line = [
        "sample",
        "image_digits",
        "--prompt",
        "7",
        "--prompt",
        "3",
        "-n",
        "1",
        "--out",
        str(out),
        "--quiet",
    ]
    assert main([*line, "--steps", "1"]) == 0
    make_sheet(out, tmp_path / "digits.webp")
    places = json.loads((tmp_path / "digits.json").read_text())
    assert [one["filename"] for one in places["frames"]] == ["7", "3"]
    assert places["meta"]["image"] == "digits.webp"


def test_the_forms_of_other_tools_are_read() -> None:
    frame = {"frame": {"x": 1, "y": 2, "w": 3, "h": 4}, "rotated": False, "duration": 100}
    for frames in ({"a/hero_1.png": frame}, [{"filename": "a/hero_1.png", **frame}]):
        (cell,) = from_json(json.dumps({"frames": frames, "meta": {}}), "x.json", (8, 8))
        assert (cell.name, cell.x, cell.y, cell.width, cell.height) == ("a/hero_1.png", 1, 2, 3, 4)
    again = from_json(json.dumps(to_json([cell], "x.png", (8, 8))), "x.json", (8, 8))
    assert again == [cell]
    assert cut(torch.arange(64.0).view(1, 8, 8), cell).flatten().tolist()[:4] == [17, 18, 19, 25]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "no list of frames"),
        ('{"frames": [{"frame": {"x": 0, "y": 0, "w": 9, "h": 1}}]}', "frame 1: 9 x 1 at 0, 0 lies outside"),
        ('{"frames": [{"frame": {"x": 0, "y": 0, "w": 1.5, "h": 1}}]}', "whole x, y, w and h"),
        ('{"frames": [{"rotated": true, "frame": {"x": 0, "y": 0, "w": 1, "h": 1}}]}', "it is rotated"),
    ],
)
def test_wrong_places_are_named(text: str, said: str) -> None:
    with pytest.raises(MultigenError, match=said):
        from_json(text, "x.json", (8, 8))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    for how, said in (
        ({"cell": (5, 8)}, "cell: 8x5 does not divide 16 x 16 pixels"),
        ({"grid": (3, 2)}, "grid: 2x3 does not divide 16 x 16 pixels"),
    ):
        with pytest.raises(MultigenError, match=said):
            grid_cells((16, 16), **{"cell": None, "grid": None, **how})  # type: ignore[arg-type]
    assert len(grid_cells((17, 17), cell=(8, 8), grid=None, gap=1)) == 4
    RGBA.write(sprite(9), tmp_path / "a.png")
    with pytest.raises(MultigenError, match=r"no a.json beside it; say --cell"):
        cut_sheet(tmp_path / "a.png", tmp_path / "out")
    RGBA.write(torch.full((4, 8, 8), -1.0), tmp_path / "clear.png")
    with pytest.raises(MultigenError, match="all of its 4 cells are clear"):
        cut_sheet(tmp_path / "clear.png", tmp_path / "out", cell=(4, 4))
    (tmp_path / "mixed").mkdir()
    RGBA.write(sprite(9), tmp_path / "mixed" / "a.png")
    RGBA.write(sprite(9, 6), tmp_path / "mixed" / "b.png")
    with pytest.raises(MultigenError, match="b has 6 x 6; a sheet has cells of one size"):
        make_sheet(tmp_path / "mixed", tmp_path / "x.png")


def test_names_that_repeat_are_numbered() -> None:
    names = _numbered(["red knight", "tree", "red knight"])
    assert names == ["red knight", "tree", "red knight 2"]
    assert [_caption(one, set(names)) for one in [*names, "oak 2"]] == [
        "red knight",
        "tree",
        "red knight",
        "oak 2",
    ]
