"""The style that a LoRA moves: towards the tuning set, on prompts that this does not show, with the base untouched."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.metrics import Target
from multigen.evaluation.sets import MediaSet
from multigen.evaluation.style import SHEET, unseen_prompts
from multigen.recipe.load import load_recipe
from multigen.registry import register
from multigen.runs import jobs as runs
from tests.storage.test_lora import NETWORK, SMALL, pictures


@register("feature", "colours_for_tests")
class Colours(nn.Module, Feature):
    """The mean of each channel: what tuning to one colour must move."""

    facts = Facts("colours_for_tests", 3, "as they are", "none", "none")

    def forward(self, media: Tensor) -> Tensor:
        return media.flatten(2).mean(2)[:, None]


@pytest.mark.slow
def test_the_distance_falls_and_the_report_shows_it(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "white").mkdir()
    for k in range(4):
        Image.new("RGB", (16, 16), (250 - k, 250, 250)).save(tmp_path / "white" / f"{k}.png")
    options = [*SMALL, *NETWORK, "evaluate.n=8", "evaluate.feature={name: colours_for_tests}"]
    base = load_recipe("image_folder", [*options, f"data.path={tmp_path / 'white'}", "train.steps=20"])
    runs.train(base, out=tmp_path / "base", device="cpu", quiet=True)
    adapter = ["train.adapter={name: lora, rank: 4, alpha: 8, targets: [linears, convolutions]}"]
    adapter += [f"train.init={tmp_path / 'base'}", "train.steps=30", "train.ema_decay=0.5", "data.held_out=0"]
    dark = load_recipe("image_folder", [*options, f"data.path={pictures(tmp_path / 'dark')}", *adapter])
    folder = runs.train(dark, out=tmp_path / "tuned", device="cpu", quiet=True)
    assert main(["evaluate", str(folder), "--device", "cpu"]) == 0
    assert "style, kernel distance from the tuning set, base model:" in capsys.readouterr().out
    style = json.loads((folder / "evaluation.json").read_text())["style"]
    assert style["tuning_media"] == 4 and style["media"] == 8
    assert style["after"]["value"] < 0.5 * style["before"]["value"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "style, on prompts outside the tuning set" in page
    assert "with what the tuning added" in page
    sheet = Image.open(folder / SHEET)
    left, right = (
        torch.tensor(next(iter(side.resize((1, 1)).getdata()))[:1], dtype=torch.float32)
        for side in (
            sheet.crop((0, 0, sheet.width // 2, sheet.height)),
            sheet.crop((sheet.width // 2, 0, *sheet.size)),
        )
    )
    assert left > right  # the base's pictures are the lighter ones


def test_prompts_of_the_tuning_set_do_not_count() -> None:
    tuning = MediaSet("tuning", [], [Target("Red apple "), Target("pear")])

    def model(*prompts: str) -> Any:
        recipe = load_recipe("image_emoji", [f"sample.prompts={list(prompts)}"])
        return SimpleNamespace(recipe=recipe)

    assert unseen_prompts(model("red apple", "blue car", "pear"), tuning) == ["blue car"]
    with pytest.raises(MultigenError, match="every prompt of sample.prompts is a caption of the tuning set"):
        unseen_prompts(model("Pear", "red apple"), tuning)
