"""Evaluation end to end: real media are told from noise, copies from new ones, one's own prompts from others'."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.cli.main import main
from multigen.core.noise import normal, stream
from multigen.datasets.digits import Digits
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation import evaluate as evaluation
from multigen.evaluation import memorisation, sets
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.metrics import Target
from multigen.evaluation.report import FILE, Report, read_report
from multigen.evaluation.results import Distance, Measure
from multigen.modalities import Modality
from multigen.model.build import build_dataset, resolve
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import Given, Part

TINY = [
    "weights=null",
    "backbone.widths=[16,16]",
    "backbone.attention=[false,true]",
    "sample.steps=2",
    "evaluate.n=60",
    "evaluate.bank=300",
    "evaluate.feature.name=shrunk",
    "evaluate.metrics=[{name: classifier, steps: 60}]",
]


@registry.register("feature", "shrunk")
class Shrunk(Feature):
    """7 x 7 grey pixels: quick, and enough to tell digits from noise and copies from others."""

    def __init__(self, *, modality: Given[Modality]) -> None:
        self.facts = Facts("shrunk", 49, "7x7 grey", "none", "Apache-2.0")

    def __call__(self, media: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(media.mean(1), 7).flatten(1)[:, None]


def tiny(*overrides: str) -> Recipe:
    return load_recipe("image_digits", [*TINY, *overrides])


def evaluated(monkeypatch: pytest.MonkeyPatch, folder: Path, media: Any, *overrides: str) -> Report:
    """The evaluation of a model that would make `media(wanted, dataset)`."""
    recipe = tiny(*overrides)
    dataset = build_dataset(recipe)
    model = Model(resolve(recipe, dataset), device="cpu")

    def instead(
        model: Model, wanted: Sequence[Target], name: str, *, seed: int, progress: Any = None
    ) -> sets.MediaSet:
        return sets.MediaSet(name, media(wanted, dataset), list(wanted))

    monkeypatch.setattr(evaluation, "generated_set", instead)
    return evaluation.evaluate(model, folder, quiet=True)


def copies(wanted: Sequence[Target], dataset: Any) -> list[Tensor]:
    """Training items of the asked class, as training draws them."""
    train = dataset.split()[0]
    by_class: dict[int, list[int]] = {}
    for i in train:
        by_class.setdefault(int(dataset.labels[i]), []).append(i)
    bank = train[:: max(1, len(train) // 300)][:300]  # those that the evaluation searches
    chosen = [next(i for i in bank[k % 50 :] if dataset.labels[i] == w.label) for k, w in enumerate(wanted)]
    return [dataset.draw(i, stream(0, "bank", i))["media"] for i in chosen]


def new(wanted: Sequence[Target], dataset: Any) -> list[Tensor]:
    """Real digits that no part of the evaluation has drawn."""
    held = dataset.split()[1]
    by_class = {c: [i for i in held if dataset.labels[i] == c] for c in range(10)}
    return [
        dataset.draw(by_class[w.label or 0][k % 20], stream(99, "new", k))["media"]
        for k, w in enumerate(wanted)
    ]


def noise(wanted: Sequence[Target], dataset: Any) -> list[Tensor]:
    return [normal((1, 28, 28), 7, "x", k).clamp(-1, 1) for k in range(len(wanted))]


NAME = "classifier steps=60"


def measure(found: Report, name: str = NAME) -> Measure:
    return next(m for m in found.measures if m.metric == name)


def known(value: float | None) -> float:
    assert value is not None
    return value


def distance(found: Report, name: str = "kernel") -> Distance:
    return next(d for d in found.distances if d.distance == name)


def test_real_media_score_as_real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = evaluated(monkeypatch, tmp_path, new)
    assert known(measure(found).skill) > 0.85
    assert known(distance(found).excess) < 0.1
    assert found.facts["memorisation"]["ratio"] == pytest.approx(1, abs=0.35)
    assert found.facts["memorisation"]["closer_than_5_percent_of_training"] < 0.2
    again = read_report(tmp_path)
    assert again == dataclasses.replace(found, facts=again.facts if again else {})
    assert json.loads((tmp_path / FILE).read_text()) == found.to_json()
    assert (tmp_path / memorisation.PAIRS).stat().st_size > 1000
    assert set(found.facts["held_out_loss"]) >= {"mean", "0.0"}
    assert found.facts["speed"]["peak_memory_bytes"] > 2**27


def test_noise_scores_as_noise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = evaluated(monkeypatch, tmp_path, noise)
    assert abs(known(measure(found).skill)) < 0.35
    assert known(distance(found).excess) > 0.9
    assert known(distance(found).precision) < 0.1


def test_a_single_training_item_has_no_memorisation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no distance among training items to compare with; the rest is measured."""
    monkeypatch.setattr(Digits, "split", lambda self: ([0], list(range(1, 200))))
    found = evaluated(monkeypatch, tmp_path, noise, "evaluate.metrics=[]", "evaluate.n=8")
    assert "memorisation" not in found.facts and not (tmp_path / memorisation.PAIRS).exists()
    assert distance(found) is not None and set(found.facts["held_out_loss"]) >= {"mean"}
    assert "the data hold 1 training item; at least 2 are needed" in caplog.text
    assert "memorisation" not in str(found)


def test_a_copied_training_set_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It wins the distances; the memorisation check says why."""
    found = evaluated(monkeypatch, tmp_path, copies)
    assert known(distance(found).excess) < 0.1
    assert found.facts["memorisation"]["closer_than_5_percent_of_training"] > 0.95
    assert found.facts["memorisation"]["ratio"] < 0.05
    text = str(found)
    assert "kernel distance" in text and NAME in text


def test_one_picture_over_and_over_has_no_variety(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = evaluated(monkeypatch, tmp_path, lambda wanted, data: [new(wanted, data)[0]] * len(wanted))
    assert known(distance(found).coverage) < 0.2
    assert known(distance(found).recall) < 0.1
    assert known(measure(found).skill) < 0.2


def test_the_command_writes_json_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny()
    model = Model(resolve(recipe, build_dataset(recipe)), device="cpu")
    path = model.save(tmp_path / "w.safetensors")
    out = tmp_path / "out"
    argv = ["evaluate", str(path), "--out", str(out), "evaluate.n=12", "--device", "cpu"]
    assert main([*argv, "--quiet"]) == 0
    assert capsys.readouterr() == (f"{out}\n", "")
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.strip().endswith(str(out))
    assert "12 samples are too few for 49 features" in printed
    page = (out / "report.html").read_text()
    assert "Evaluation: distances from real media (shrunk)" in page
    assert "closest pairs" in page
    found = read_report(out)
    assert found is not None
    assert found.facts["sets"] == {"held out": 12}


@pytest.mark.slow
def test_a_folder_of_media_is_measured_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What another tool made: here real digits, as files."""
    recipe = tiny()
    dataset = build_dataset(recipe)
    model = Model(resolve(recipe, dataset), device="cpu")
    path = model.save(tmp_path / "w.safetensors")
    (tmp_path / "other").mkdir()
    for k, i in enumerate(dataset.split()[1][:30]):
        model.modality.write(dataset.draw(i, stream(5, k))["media"], tmp_path / "other" / f"{k}.png")
    argv = [
        "evaluate",
        str(path),
        "--media",
        str(tmp_path / "other"),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    assert main([*argv, "--device", "cpu"]) == 0
    found = read_report(tmp_path / "out")
    assert found is not None
    assert found.facts["sets"] == {"other": 30}
    assert known(distance(found).excess) < 0.2
    assert not found.measures  # no prompts, nothing that was asked for
    assert "speed" not in found.facts
    model.modality.write(torch.zeros(1, 40, 28), tmp_path / "other" / "tall.png")
    argv[argv.index("--out") + 1] = str(tmp_path / "again")  # of other media, so not in place of the first
    assert main([*argv, "--device", "cpu"]) != 0
    assert "28x40 pixels, not 28x28" in capsys.readouterr().err
    assert main([*argv, "--device", "cpu", "--convert"]) == 0
    assert "28x40 pixels, not 28x28: 1 of 31 files" in (tmp_path / "again" / "report.html").read_text()
    (tmp_path / "empty").mkdir()
    assert main(["evaluate", str(path), "--media", str(tmp_path / "empty"), "--quiet"]) != 0
    assert "holds no image to measure" in capsys.readouterr().err


def test_captions_that_were_held_out_are_a_set_of_their_own() -> None:
    recipe = load_recipe("image_emoji", ["data.count=30", "weights=null"])
    dataset = build_dataset(recipe)
    seen, unseen = sets.pools_of(dataset)
    assert (seen.name, unseen.name) == ("seen", "new")
    asked = {w.id for w in sets.draw_targets(dataset, unseen, 20, seed=0)}
    assert not asked & {w.id for w in sets.draw_targets(dataset, seen, 200, seed=0)}
    find = dataset.catalogue().find
    a, b = (
        {find(w.id) for w in sets.real_set(dataset, seen, 40, _Same(), seed=0, part=p).targets} for p in "ab"
    )
    assert len(a) == len(b) == 15
    assert not a & b


class _Same:
    """A codec that changes nothing."""

    def buffers(self) -> list[Tensor]:
        return []

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        return x


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"evaluate.metrics.0.name: 'hu'.*Did you mean 'hue'"):
        tiny("evaluate.metrics=[hu]")
    with pytest.raises(RecipeError, match=r"evaluate.metrics.1: hue is listed twice"):
        tiny("evaluate.metrics=[hue,hue]")
    with pytest.raises(RecipeError, match=r"evaluate.metrics: 'hue' is not allowed. Allowed: a list"):
        tiny("evaluate.metrics=hue")
    with pytest.raises(RecipeError, match=r"evaluate.n: 2 is not allowed"):
        tiny("evaluate.n=2")
    recipe = tiny("evaluate.metrics=[detune]")
    dataset = build_dataset(recipe)
    with pytest.raises(RecipeError, match="detune takes sound; the modality is image"):
        evaluation.build_parts(Model(resolve(recipe, dataset), device="cpu"), dataset)
    with pytest.raises(MultigenError, match="holds nothing out"):
        sets.pools_of(build_dataset(tiny("data.held_out=0")))
    assert registry.lookup("feature", "shrunk") is Shrunk
    assert Part("shrunk") == tiny().evaluate.feature
