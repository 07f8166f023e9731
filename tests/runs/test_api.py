"""Training and evaluating from Python: what the commands do, as a model and as data."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

import multigen
from multigen.evaluation.report import Report
from multigen.evaluation.results import Distance, Measure
from tests.runs.test_train import TINY

HERE = {"device": "cpu", "quiet": True}
MEASURED = ["evaluate.n=8", "evaluate.bank=50", "evaluate.metrics=[{name: classifier, steps: 5}]"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("api") / "digits"
    model = multigen.train("image_digits", *TINY, out=out, **HERE)
    assert isinstance(model, multigen.Model)
    assert model.recipe.train.steps == 2
    return out


def test_a_trained_model_samples_and_its_folder_is_a_run_folder(trained: Path) -> None:
    model = multigen.load(trained, device="cpu")
    assert len(model.generate("3", n=2, steps=1)) == 2
    assert (trained / "weights.safetensors").is_file() and (trained / "report.html").is_file()


def test_training_continues_where_its_folder_stands(trained: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    model = multigen.train(folder, "train.steps=3", **HERE)
    assert model.recipe.train.steps == 3
    assert (folder / "checkpoints" / "step-00000003").is_dir()
    with pytest.raises(multigen.MultigenError, match="holds another training"):
        multigen.train(folder, "train.lr=1", **HERE)


def test_a_recipe_object_trains_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = multigen.load_recipe("image_digits", TINY)
    named = dataclasses.replace(recipe, name="mine")
    assert multigen.train(named, "train.steps=1", **HERE).recipe.train.steps == 1
    assert (tmp_path / "runs" / "mine" / "weights.safetensors").is_file()
    with pytest.raises(multigen.MultigenError, match="attention"):
        multigen.train(recipe, "backbone.widths=[16,16,16]", **HERE)


@pytest.mark.slow
def test_an_evaluation_is_data(trained: Path, tmp_path: Path) -> None:
    report = multigen.evaluate(trained, *MEASURED, out=tmp_path / "out", **HERE)
    assert isinstance(report, Report)
    assert report.folder == tmp_path / "out"
    assert (report.folder / "report.html").is_file() and (report.folder / "evaluation.json").is_file()
    (measure,) = report.measures
    assert isinstance(measure, Measure) and measure.metric.startswith("classifier")
    assert 0 <= measure.value <= 1 and measure.skill is not None and measure.inside is None
    kernel = next(d for d in report.distances if d.distance == "kernel")
    assert isinstance(kernel, Distance)
    assert kernel.real is not None and kernel.far is not None and kernel.excess is not None
    assert math.isclose(
        kernel.excess, (kernel.value - kernel.real) / (kernel.far - kernel.real), rel_tol=1e-6
    )
    assert str(report) == "\n".join(report.lines())
    assert report.facts["sets"] == {"held out": 8}
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.folder = tmp_path  # type: ignore[misc]
