"""Groups: shares of outputs beside those of real media, with intervals that hold, and quality by group."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image
from torch import Tensor

from multigen.datasets import Dataset, Item
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.groups import check_groups, measure_groups, named, told, wilson
from multigen.evaluation.groups_picture import GROUPS, draw_groups
from multigen.evaluation.metrics import Score, Target
from multigen.evaluation.sets import MediaSet
from multigen.model.build import build_dataset
from multigen.recipe.guards import Groups
from multigen.recipe.load import load_recipe, override_recipe
from tests.model.test_model import small

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}


class Mean(Feature):
    """The mean colour."""

    facts = Facts("mean", 3, "any", "none", "none")

    def __call__(self, media: Tensor) -> Tensor:
        return media.mean((2, 3))[:, None]


class Colours(Dataset):
    """Flat pictures: 60 red ones, 30 green, 10 blue, of which every fifth is held out."""

    names = ["red"] * 60 + ["green"] * 30 + ["blue"] * 10

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Item:
        values = torch.tensor(COLOURS[self.names[index]]).reshape(3, 1, 1).expand(3, 8, 8)
        noise = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index))
        return {"media": values + 0.1 * noise, "id": str(index), "text": f"a {self.names[index]} square"}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        return [k for k in range(100) if k % 5], [k for k in range(100) if not k % 5]


class Light:
    """The mean level."""

    better: Literal["higher", "lower", "real"] = "real"
    reads: Literal["prompt", "media", "seeds"] = "media"
    about = "level"

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        return Score.of([float(one.mean()) for one in media])


def test_wilson() -> None:
    found = wilson(10, 100)  # Brown, Cai & DasGupta (2001): 0.0552 to 0.1744
    assert (found["low"], found["high"]) == (pytest.approx(0.0552, abs=1e-4), pytest.approx(0.1744, abs=1e-4))
    assert wilson(0, 20)["low"] == 0 and 0.1 < wilson(0, 20)["high"] < 0.2
    assert wilson(20, 20)["high"] == 1 and math.isnan(wilson(0, 0)["share"])


def test_intervals_hold() -> None:
    noise = torch.Generator().manual_seed(0)
    counts = (torch.rand(2000, 50, generator=noise) < 0.3).sum(1).tolist()
    inside = [wilson(count, 50)["low"] <= 0.3 <= wilson(count, 50)["high"] for count in counts]
    assert 0.93 < sum(inside) / len(inside) < 0.97


def test_captions_name_groups() -> None:
    names, group_of = named(Groups(names={"red": ("red", "crimson"), "green": ()}), Colours())
    assert names == ["red", "green"]
    said = {
        "a Red square": "red",
        "crimson": "red",
        "green": "green",
        "red and green": None,
        "hundred": None,
        "": None,
    }
    assert {text: group_of(text, None) for text in said} == said
    with pytest.raises(MultigenError, match="the data have no classes"):
        named(Groups(), Colours())


def asked(
    monkeypatch: pytest.MonkeyPatch, shares: dict[str, float], n: int = 100, judge: str = "null", metrics=None
):  # type: ignore[no-untyped-def]
    """What is found for a model whose outputs have these shares."""
    model = small("image_digits")
    settings = "{names: {red: [red], green: [green], blue: [blue]}, neutral: [a square], n: 100"
    settings += f", judge: {judge}}}"
    model.recipe = override_recipe(model.recipe, [f"evaluate.groups={settings}"])
    dataset = Colours()
    first = {name: dataset.names.index(name) for name in COLOURS}
    outputs = [
        dataset[first[name]]["media"] for name, share in shares.items() for _ in range(round(n * share))
    ]

    def neutral(_model: object, targets: Sequence[Target], name: str, *, seed: int) -> MediaSet:
        assert len(targets) == 100 and {t.prompt for t in targets} == {"a square"} and name == "neutral"
        return MediaSet(name, outputs, list(targets))

    monkeypatch.setattr("multigen.evaluation.groups.generated_set", neutral)
    made = MediaSet("held out", outputs[:40], [Target("a red square")] * 30 + [Target("a blue square")] * 10)
    found = measure_groups(model, dataset, [made], metrics or {"light": Light()}, Mean())
    assert found is not None
    return found


def test_fair_outputs_are_not_beyond_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, {"red": 0.6, "green": 0.3, "blue": 0.1})
    assert [row["group"] for row in found["rows"]] == ["red", "green", "blue"]
    assert [row["training"]["share"] for row in found["rows"]] == [0.6, 0.3, 0.1]
    # 80 training items, of which five draws each make the means
    assert [row["training"] for row in found["rows"]] == [wilson(48, 80), wilson(24, 80), wilson(8, 80)]
    assert [row["outputs"]["share"] for row in found["rows"]] == [0.6, 0.3, 0.1]
    assert found["judge_right"]["share"] == 1 and found["apart"] == pytest.approx(0, abs=1e-9)
    assert all(row["beyond_chance"] == "" for row in found["rows"])
    quality = found["rows"][0]["quality"]["light"]
    assert quality["n"] == 30 and quality["value"] == pytest.approx(-1 / 3, abs=0.05)
    assert "quality" in found["rows"][1] and found["rows"][1]["quality"] == {}


def test_a_group_that_is_missing_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = asked(monkeypatch, {"red": 0.97, "green": 0.03, "blue": 0.0})
    assert [row["beyond_chance"] for row in found["rows"]] == [
        "more",
        "less",
        "",
    ]  # 2 of 20 real ones are blue
    assert found["apart"] == pytest.approx(0.37)
    rows = told(found)
    assert rows[0]["group"] == "red" and rows[0]["training captions"].startswith("60% (")
    assert "97%" in rows[0]["outputs of 100"] and "right on 100%" in rows[-1]["note"]
    with Image.open(draw_groups(found, tmp_path)) as picture:
        assert picture.size[0] == 720 and (37, 99, 235) in {c for _, c in picture.getcolors(1 << 16) or []}
    assert (tmp_path / GROUPS).is_file()


def test_another_feature_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mean, "__call__", lambda *_: pytest.fail("the evaluation's feature was asked"))
    found = asked(monkeypatch, {"red": 0.6, "green": 0.3, "blue": 0.1}, judge="{name: thumbnail, side: 4}")
    assert (found["judge"], found["judge_right"]["share"]) == ("thumbnail of 4", 1)
    with pytest.raises(RecipeError, match="Did you mean 'thumbnail'"):
        load_recipe("image_digits", ["evaluate.groups={judge: {name: thumbnial}}"])


class Unnamed(Colours):
    """Half of the captions name nothing; new captions are held out, all of them of blue ones."""

    holds_out = "captions"

    def draw(self, index: int, rng: torch.Generator) -> Item:
        item = self[index]
        return item if index % 2 else {**item, "text": "a square"}

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        return range(90), range(90, 100)


def test_real_shares_are_those_of_all_training_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of media that name no group, and not of those that are held out, which are all blue."""
    model = small("image_digits")
    names = "{names: {red: [], green: []}, n: 4}"
    model.recipe = override_recipe(model.recipe, [f"evaluate.groups={names}"])
    dataset = Unnamed()
    neutral = MediaSet("neutral", [dataset[0]["media"]] * 4, [Target("")] * 4)
    found = measure_groups(model, dataset, [], {}, Mean(), neutral)
    assert found is not None and found["media"] == 4
    real = {row["group"]: row["real"]["share"] for row in found["rows"]}
    assert real == {"red": pytest.approx(60 / 90), "green": pytest.approx(30 / 90)}
    assert [row["outputs"]["count"] for row in found["rows"]] == [4, 0]
    assert found["judge_right"] == wilson(45, 45)  # every second one names its group


class Right(Light):
    """Whether it is rather light."""

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        return Score.of([1.0] * len(media))


def test_few_that_are_all_right_say_little(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, {"red": 0.6, "green": 0.3, "blue": 0.1}, metrics={"right": Right()})
    blue = found["rows"][2]["quality"]["right"]
    assert blue == {"value": 1.0, "low": wilson(10, 10)["low"], "high": wilson(10, 10)["high"], "n": 10}
    assert "1 (0.72" in told(found)[2]["right"]


def test_prompts_that_name_a_group_are_refused() -> None:
    for settings, said in (
        ("{names: {red: [], blue: []}, neutral: [a red one]}", "'a red one' names the group red"),
        ("{names: {red: [], pink: []}}", "the training items name 1 of the groups red, pink"),
    ):
        model = small("image_digits")
        model.recipe = override_recipe(model.recipe, [f"evaluate.groups={settings}"])
        with pytest.raises(MultigenError, match=said):
            measure_groups(model, Colours(), [], {}, Mean())
    for settings, said in (
        ("{n: 0}", r"groups\.n: 0"),
        ("{neutral: []}", r"neutral: \[\]"),
        ("{neutrals: []}", "Did you mean 'neutral'"),
    ):
        with pytest.raises(RecipeError, match=said):
            load_recipe("image_digits", [f"evaluate.groups={settings}"])


def test_classes_of_a_model_that_is_asked_for_none() -> None:
    """A model of digits, untrained: the classes are the groups, and the prompt is that of no class."""
    model = small("image_digits")
    model.recipe = override_recipe(
        model.recipe, ["evaluate.groups={n: 6}", "evaluate.bank=60", "sample.steps=1"]
    )
    from multigen.model.build import build_dataset

    class Grey(Mean):
        def __call__(self, media: Tensor) -> Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(media.mean(1), (7, 7)).flatten(1)[:, None]

    found = measure_groups(model, build_dataset(model.recipe, model.modality), [], {}, Grey())
    assert found is not None and found["media"] == 6
    assert sum(row["outputs"]["count"] for row in found["rows"]) == 6
    assert found["judge_right"]["share"] > 0.4  # ten classes: 0.1 by chance
    assert measure_groups(small("image_digits"), Colours(), [], {}, Mean()) is None


class Apart:
    """One value for each prompt, whose media it compares."""

    better: Literal["higher", "lower", "real"] = "higher"
    reads: Literal["prompt", "media", "seeds"] = "seeds"
    about = "how far the media of a prompt lie apart"

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        return Score.of([0.5 for _ in {target.prompt for target in targets}])


def test_a_metric_of_prompts_says_nothing_of_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two values would fall to the first two media: they belong to no medium."""
    found = asked(
        monkeypatch, {"red": 0.6, "green": 0.3, "blue": 0.1}, metrics={"light": Light(), "apart": Apart()}
    )
    assert {name for row in found["rows"] for name in row["quality"]} == {"light"}
    assert any("light" in row and "apart" not in row for row in told(found))


def test_a_neutral_prompt_that_the_model_cannot_take_is_refused_before_any_work() -> None:
    model = small("image_digits")
    groups = Groups(neutral=("eleven",))
    evaluate = dataclasses.replace(model.recipe.evaluate, groups=groups)
    model.recipe = dataclasses.replace(model.recipe, evaluate=evaluate)
    with pytest.raises(MultigenError, match=r"^evaluate\.groups\.neutral: prompt: 'eleven' is not allowed"):
        check_groups(model, build_dataset(model.recipe, model.modality))
