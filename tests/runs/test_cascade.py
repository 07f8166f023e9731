"""One command trains and makes a cascade: its stages, its pairs, its previews, its manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import multigen
from multigen.cli.main import main
from multigen.core.noise import normal
from multigen.errors import MultigenError
from multigen.modalities.image import Image
from multigen.model.export import export
from multigen.recipe.load import load_recipe
from multigen.recipe.manifest import read, verify
from multigen.runs import jobs as runs
from multigen.runs.trainer import build_task
from multigen.training.batch import Batch
from multigen.training.draws import Places
from tests.runs.test_train import TINY

LARGE = [
    *TINY, "name=large", "modality.size=28", "cascade={name: enlarge, factor: 2}", "conditioner.name=none",
    "guide.name=plain", "backbone.attention=[false,false]", "train.preview_every=1", "train.held_out_every=2",
]  # fmt: skip


def large(*overrides: str) -> multigen.Recipe:
    return load_recipe("image_digits", [*LARGE, *overrides])


def test_a_run_trains_the_stages_that_nobody_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = load_recipe("image_digits", [*TINY, "name=small", "modality.size=14"])
    from multigen.recipe.dump import to_yaml

    (tmp_path / "small.yaml").write_text(to_yaml(small))
    folder = runs.run(large("stages=[small.yaml]"), device="cpu", quiet=True)
    assert (tmp_path / "runs" / "small" / "weights.safetensors").is_file()
    assert not (tmp_path / "runs" / "small" / "media").exists()  # it was trained, no more
    assert verify(folder) == [] and list((folder / "previews").glob("*.png"))
    found = read(folder)
    assert found is not None
    (entry,) = found["files"]
    first, whole = multigen.load("runs/small", device="cpu"), multigen.load(folder, device="cpu")
    assert entry["stages"] == [{"recipe": "small", "weights_hash": first.weights_hash()}]
    assert entry["weights_hash"] == whole.weights_hash()
    assert Image(size=28, channels=1).read(folder / entry["file"]).shape == (1, 28, 28)
    # The same goes on; a picture of the user's needs no stage, and says so.
    assert runs.run(large("stages=[small.yaml]"), device="cpu", quiet=True) == folder
    Image(channels=1).write(normal((1, 14, 14), 0).clamp(-1, 1), tmp_path / "a.png")
    assert main(["edit", str(folder), "--input", "a.png", "--out", "edited", "--quiet"]) == 0
    edited = read(tmp_path / "edited")
    assert edited is not None and "stages" not in edited["files"][0]
    assert Image(channels=1).info(str(tmp_path / "edited" / edited["files"][0]["file"])).width == 28
    # One file holds both, and opens where neither is.
    file = export(folder, tmp_path / "whole.safetensors")
    monkeypatch.chdir(tmp_path / "edited")
    (alone,), (before,) = (m.generate("3", seed=4) for m in (multigen.load(file, device="cpu"), whole))
    assert torch.equal(alone.tensor, before.tensor)


def test_what_is_not_there_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MultigenError, match="none.yaml"):
        runs.run(large("stages=[none.yaml]"), device="cpu", quiet=True)
    with pytest.raises(MultigenError, match="runs/nowhere: no such file"):
        runs.run(large("stages=[runs/nowhere]"), device="cpu", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_pairs_are_of_the_same_medium_with_noise_of_their_place() -> None:
    """The channels that the network is shown, taken apart: the smaller medium enlarged, and its level."""
    model = multigen.Model(large("cascade={name: enlarge, factor: 2, noise: 0.5}"), device="cpu")
    from multigen.model.build import build_dataset

    task = build_task(model, build_dataset(model.recipe, model.modality))
    from multigen.training.diffusion import Diffusion

    assert isinstance(task, Diffusion) and model.cascade is not None
    media = normal((4, 1, 28, 28), 0).clamp(-1, 1)
    shown = task.examples.cascade_channels(model.cascade, media, 7, Places(4, range(4)))
    level = shown[:, 4, 0, 0]
    assert (
        shown.shape == (4, 5, 14, 14)
        and level.min() >= 0
        and level.max() <= 0.5
        and len(set(level.tolist())) == 4
    )
    seen = model.cascade.seen(model.cascade.reduced(media), (28, 28))
    noise = (shown[:, :4] - (1 - level.square()).sqrt()[:, None, None, None] * seen) / level[
        :, None, None, None
    ]
    assert abs(float(noise.std()) - 1) < 0.05
    # The same rows in another part of the batch, and in another step.
    part = task.examples.cascade_channels(model.cascade, media[2:], 7, Places(4, range(2, 4)))
    assert torch.allclose(part, shown[2:], atol=1e-6)
    other = task.examples.cascade_channels(model.cascade, media, 8, Places(4, range(4)))
    assert not torch.allclose(other[:, 4], shown[:, 4])


def test_the_loss_falls_with_what_is_shown() -> None:
    """A network whose answer is the condition itself is better than one that answers nothing, at every noise level."""
    model = multigen.Model(large(), device="cpu")
    from multigen.model.build import build_dataset

    task = build_task(model, build_dataset(model.recipe, model.modality))
    nothing = task.measure()
    assert nothing["mean"] > 0.1
    model.denoiser.backbone.forward = lambda x, c_noise, cond: cond.grid[:, :4]  # type: ignore[method-assign]
    assert task.measure()["mean"] < 0.5 * nothing["mean"]
    batch = Batch(normal((4, 1, 28, 28), 0).clamp(-1, 1), {}, ["a"] * 4, {}, frozenset())
    (loss,) = [part for _, parts in task.losses(batch, 0, 0.0) for part in parts]
    assert loss.isfinite()


def test_the_level_may_change_when_sampling_and_the_factor_may_not(tmp_path: Path) -> None:
    folder = runs.train(large("stages=[image_digits]"), out=tmp_path / "run", device="cpu", quiet=True)
    from multigen.runs.opened import open_model

    model = open_model(str(folder), ["cascade.level=0.3"], "cpu")
    assert model.cascade is not None and model.cascade.level == 0.3
    with pytest.raises(
        MultigenError, match=r"cascade: the weights of large were trained with it.*stages, cascade.level"
    ):
        open_model(str(folder), ["cascade.factor=4"], "cpu")
