"""`multigen shrink`: what it writes is a model like any other, says what it is, and is refused where it is worse."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

import multigen
from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.evaluation import paired
from multigen.evaluation.distances import kernel, kernel_rise
from multigen.evaluation.paired import Cost, Skill, measure_cost
from multigen.evaluation.sets import MediaSet, pools_of, real_set
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.runs import shrink as shrinking
from multigen.runs.shrink import Shrinking, shrink
from tests.evaluation.test_evaluate import TINY
from tests.model.pipelines import tiny_pipeline
from tests.model.test_export import stirred

NETWORK = ["weights=null", "backbone.widths=[16,32]", "backbone.attention=[false,true]", "sample.steps=2"]
MEASURED = [one for one in TINY if one.startswith("evaluate")] + ["evaluate.metrics=[]"]
COST = Cost(
    media=8, excess_before=0.2, excess_rise=0.01, rise_error=0.005, difference=0.01, seconds_before=1.0,
    seconds_after=0.9, skills=(Skill("hue", 0.9, 0.9),),
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A network of digits that knows nothing, and its file."""
    model = stirred("image_digits", [*NETWORK, *MEASURED])
    return model, model.save(tmp_path_factory.mktemp("shrink") / "whole.safetensors")


def test_int8_is_smaller_nearly_the_same_and_says_what_it_is(
    model: tuple[Model, Path], tmp_path: Path
) -> None:
    whole, file = model
    made = shrink(file, tmp_path / "small.safetensors", Shrinking(int8=True), n=8, device="cpu", quiet=True)
    assert made.size[1] == made.path.stat().st_size < 0.75 * made.size[0]  # small weights stay as they are
    cost = made.cost
    assert cost is not None and cost.media == 8 and 0 < cost.difference < 0.1
    assert "excess" in str(made) and "1.00" in str(made)
    again = multigen.load(made.path, device="cpu")
    shrunk = again.recipe.shrunk
    assert shrunk is not None and (shrunk.by, shrunk.source) == ("int8", "image_digits")
    assert shrunk.weights_hash == whole.weights_hash() != again.weights_hash()
    assert shrunk.measured["excess_rise"] == pytest.approx(cost.excess_rise, abs=1e-4)
    (a,), (b,) = whole.generate("3", seed=1), again.generate("3", seed=1)
    assert 0 < float((a.tensor - b.tensor).abs().mean()) < 0.05
    assert (
        main(["sample", str(made.path), "-n", "1", "--prompt", "3", "--out", str(tmp_path / "s"), "--quiet"])
        == 0
    )
    (entry,) = json.loads((tmp_path / "s/manifest.json").read_text())["files"]
    assert entry["shrunk"]["by"] == "int8" and entry["weights_hash"] == again.weights_hash()


def test_half_is_what_half_precision_holds(model: tuple[Model, Path], tmp_path: Path) -> None:
    whole, file = model
    made = shrink(file, tmp_path / "half.safetensors", Shrinking(), n=0, device="cpu", quiet=True)
    assert made.cost is None and made.path.stat().st_size < 0.6 * file.stat().st_size
    again = multigen.load(made.path, device="cpu")
    for name, tensor in whole.state_dict().items():
        expected = tensor.half().float() if name.startswith(("backbone", "conditioner")) else tensor
        assert torch.equal(again.state_dict()[name], expected), name


def test_a_pruned_network_recovers_by_an_ordinary_training(model: tuple[Model, Path], tmp_path: Path) -> None:
    _, file = model
    how = Shrinking(
        int8=True, prune=0.5, recover=0.02, overrides=("train.batch=4", "train.tensorboard=false")
    )
    made = shrink(file, tmp_path / "small.safetensors", how, n=0, device="cpu", quiet=True)
    again = multigen.load(made.path, device="cpu")
    assert list(again.recipe.network.args["widths"]) == [8, 16]
    assert again.recipe.shrunk is not None and again.recipe.shrunk.by == "prune 0.5, int8"
    assert made.numbers[1] < 0.4 * made.numbers[0] and made.size[1] < 0.4 * made.size[0]
    assert (tmp_path / "small/log.jsonl").is_file() and (tmp_path / "small-start.safetensors").is_file()
    (medium,) = again.generate("3", seed=1)
    assert medium.tensor.isfinite().all()
    made.path.unlink()
    with pytest.raises(
        MultigenError, match=r"began there from prune 0\.5 of image_digits .*; this one is prune 0\.25"
    ):
        shrink(file, made.path, dataclasses.replace(how, prune=0.25), n=0, device="cpu", quiet=True)
    other = stirred("image_digits", [*NETWORK, *MEASURED, "seed=5"]).save(tmp_path / "other.safetensors")
    with pytest.raises(MultigenError, match=r"small-start\.safetensors: a recovery began there from"):
        shrink(other, made.path, how, n=0, device="cpu", quiet=True)
    assert shrink(file, made.path, how, n=0, device="cpu", quiet=True).path.is_file()  # it goes on


def test_a_recovery_does_not_train_in_a_folder_of_another(model: tuple[Model, Path], tmp_path: Path) -> None:
    """Such as the run folder of the source."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/log.jsonl").write_text("")
    with pytest.raises(MultigenError, match=r"mine: already exists, and the recovery would train there"):
        shrink(
            model[1],
            tmp_path / "mine.safetensors",
            Shrinking(prune=0.5, recover=0.02),
            n=0,
            device="cpu",
            quiet=True,
        )
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["log.jsonl", "mine"]


def test_what_is_too_much_worse_is_not_written(
    model: tuple[Model, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = model
    out = tmp_path / "small.safetensors"
    far = dataclasses.replace(COST, excess_rise=0.3)
    monkeypatch.setattr(shrinking, "measure_cost", lambda *_, **__: far)
    with pytest.raises(
        MultigenError, match=r"not written.*excess rises by 0\.300 ± 0\.005 \(at most 0\.1\).*--force"
    ):
        shrink(file, out, Shrinking(int8=True), device="cpu", quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == []
    assert shrink(file, out, Shrinking(int8=True), bound=0.4, device="cpu", quiet=True).path == out
    dull = dataclasses.replace(COST, skills=(Skill("hue", 0.9, 0.8),))
    monkeypatch.setattr(shrinking, "measure_cost", lambda *_, **__: dull)
    other = tmp_path / "other.safetensors"
    with pytest.raises(
        MultigenError, match=r"keeps 0\.89 of its skill \(at least 0\.95\): hue 0\.900 -> 0\.800"
    ):
        shrink(file, other, Shrinking(int8=True), device="cpu", quiet=True)
    for unknown in (
        dataclasses.replace(COST, excess_rise=math.nan),
        dataclasses.replace(COST, skills=(Skill("hue", 0.9, math.nan),)),
    ):
        with pytest.raises(MultigenError, match="not written"):
            shrinking._refuse(other, unknown, 0.1)
    forced = shrink(file, other, Shrinking(int8=True), force=True, device="cpu", quiet=True)
    assert multigen.load(forced.path, device="cpu").recipe.shrunk is not None


def test_the_same_model_costs_nothing(model: tuple[Model, Path]) -> None:
    whole, _ = model
    cost = measure_cost(whole, whole, n=8, quiet=True)
    assert cost.excess_rise == cost.rise_error == cost.difference == 0 and cost.kept == 1
    with pytest.raises(MultigenError, match="too few media to measure. Allowed: 8 or more"):
        measure_cost(whole, whole, n=3, quiet=True)


def test_an_excess_needs_media_that_the_distance_tells_apart(
    model: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a rise divided by nothing, or by less, would be no rise."""
    whole, _ = model
    dataset = build_dataset(whole.recipe, whole.modality)
    pool = pools_of(dataset)[0]

    def alike(_: Model, n: int) -> MediaSet:
        return real_set(dataset, pool, n, whole.codec, seed=whole.recipe.seed, part="b")

    monkeypatch.setattr(paired, "other_set", alike)
    with pytest.raises(MultigenError, match=r"-n 8: on so few media .* Allowed: more media; 0"):
        measure_cost(whole, whole, n=8, quiet=True)
    for near, away in ((0.2, 0.1), (0.1, math.nan), (0.1, math.inf)):
        with pytest.raises(MultigenError, match="on so few media"):
            paired.excess_scale(near, away, 8)
    assert paired.excess_scale(0.1, 0.3, 8) == pytest.approx(0.2)


def test_what_pairs_share_cancels_in_the_error_of_a_rise() -> None:
    generator = torch.Generator().manual_seed(0)
    real, before = (torch.randn(60, 5, generator=generator) for _ in range(2))
    after = before + 0.05 + 0.001 * torch.randn(60, 5, generator=generator)
    rise = kernel_rise(real, before, after)
    a, b = kernel(real, before), kernel(real, after)
    assert rise.value == pytest.approx(b.value - a.value)
    assert 0 < rise.error < 0.4 * (a.error**2 + b.error**2) ** 0.5
    with pytest.raises(MultigenError, match="Allowed: as many, 3 or more"):
        kernel_rise(real, before, after[:50])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "shrink: say how: --int8, --half, --prune SHARE"),
        (["--int8", "--half"], "--int8 and --half do not go together"),
        (["--prune", "1.5"], "argument --prune: '1.5' is not allowed; give a share over 0 and under 1"),
        (["--int8", "--recover", "3"], "--recover goes with --prune"),
        (["--int8", "train.lr=1"], "train.lr=1: overrides are for the training that --recover makes"),
        (["--int8", "-n", "3"], "give 8 or more, or 0 to measure nothing"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shrink", "image_digits", "new.safetensors", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_pipeline_stays_in_its_folder(tmp_path: Path) -> None:
    folder = tiny_pipeline(tmp_path / "pipeline")
    with pytest.raises(MultigenError, match=r"a pipeline's, which stay there.*backbone\.dtype=int8"):
        shrink(folder, tmp_path / "small.safetensors", Shrinking(int8=True), n=0, device="cpu", quiet=True)


def test_what_has_no_weights_of_its_own_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "new.safetensors")
    assert main(["shrink", str(tmp_path), out, "--int8"]) == 2
    assert main(["shrink", "image_folder", out, "--int8"]) == 2
    assert main(["shrink", "image_digits", str(tmp_path / "new.pt"), "--int8"]) == 2
    assert "weights are saved as .safetensors" in capsys.readouterr().err
