"""Prior preservation: the loss of the class's media is added, in image, sound and video; it resumes bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import multigen
from multigen.errors import RecipeError
from multigen.model.build import build_dataset
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe, parse_recipe
from multigen.recipe.schema import Recipe
from multigen.runs.prior import FOLDER, class_media
from multigen.runs.trainer import Beside, build_task
from multigen.training import checkpoint as checkpoints
from multigen.training.diffusion import Diffusion
from multigen.training.loader import one_batch
from multigen.training.task import MODEL
from multigen.training.trainer import Trainer
from tests.families.test_families import ROWS
from tests.families.tuning import tuning

PRIOR = "train.prior={{prompt: a red apple, count: 3, weight: {}}}"
FEW = ["sample.steps=2", "sample.n=1"]


def recipe_of(name: str, home: Path, *overrides: str) -> Recipe:
    folder = home / "pipeline"
    if not folder.exists():
        ROWS[name].make(folder)
    return tuning(name, folder, home / "media", *FEW, *overrides)


@pytest.mark.parametrize("name", ["stable diffusion xl", "stable audio", "wan"])
def test_the_loss_of_the_class_is_added(name: str, tmp_path: Path) -> None:
    """L(w) = L + w L': L' is the loss of a training on the class's media alone, of the seed that it has."""
    total: dict[float, float] = {}
    for weight in (0.0, 2.5):
        recipe = recipe_of(name, tmp_path, PRIOR.format(weight))
        model = Model(recipe, device="cpu")
        prior = class_media(model, tmp_path / "run")
        data = build_dataset(recipe, model.modality)
        task = build_task(model, data, Beside(prior=prior))
        assert isinstance(task, Diffusion) and task.prior is not None
        batch = one_batch(data, task.prior.order, 1, range(2))
        (((which, parts)),) = [(n, list(p)) for n, p in task.losses(batch, 1, 0.0)]
        assert which == MODEL and len(parts) == 2
        total[weight] = float(sum(parts))
    assert prior is not None and len(prior) == 3
    alone = Diffusion(
        denoiser=model.denoiser, conditioner=model.conditioner, codec=model.codec, dataset=prior,
        settings=recipe.train, seed=task.prior.seed, device=model.device,
    )  # fmt: skip
    ((_, parts),) = [(n, list(p)) for n, p in alone.losses(task.prior.batch(1), 1, 0.0)]
    added = float(sum(parts))
    assert added > 0.01
    assert total[2.5] - total[0.0] == pytest.approx(2.5 * added, rel=1e-4)


def test_the_class_is_made_once_by_the_model_itself_each_of_its_seed(tmp_path: Path) -> None:
    recipe = recipe_of("stable diffusion 1", tmp_path, PRIOR.format(1), "modality.size=16")
    model = Model(recipe, device="cpu")
    made = class_media(model, tmp_path / "run")
    assert made is not None
    place = tmp_path / "run" / FOLDER
    files = {p.name: p.read_bytes() for p in place.iterdir()}
    assert sorted(files) == ["00000.png", "00001.png", "00002.png", "made.json"]
    (one,) = model.generate("a red apple", seed=recipe.seed + 1)
    torch.testing.assert_close(made[1]["media"], one.tensor, rtol=0, atol=1 / 127)
    few = class_media(
        Model(
            recipe_of("stable diffusion 1", tmp_path, "train.prior={prompt: a red apple, count: 1}"),
            device="cpu",
        ),
        tmp_path / "run",
    )
    assert few is not None and len(few) == 1  # as many as are asked for now
    assert sorted(p.name for p in place.iterdir()) == ["00000.png", "made.json"]
    class_media(model, tmp_path / "run")
    (place / "00001.png").unlink()
    stamp = (place / "00000.png").stat().st_mtime_ns
    class_media(model, tmp_path / "run")
    assert {p.name: p.read_bytes() for p in place.iterdir()} == files
    assert (place / "00000.png").stat().st_mtime_ns == stamp
    other = recipe_of(
        "stable diffusion 1", tmp_path, "train.prior={prompt: blue car, count: 3}", "modality.size=16"
    )
    class_media(Model(other, device="cpu"), tmp_path / "run")
    assert all((place / name).read_bytes() != data for name, data in files.items())


@pytest.mark.parametrize(
    "part", [pytest.param("null", marks=pytest.mark.slow), "{name: lora, rank: 2, text: true}"]
)
def test_it_resumes_bit_for_bit(part: str, tmp_path: Path) -> None:
    options = [
        PRIOR.format(0.5),
        f"train.adapter={part}",
        "train.steps=4",
        "train.checkpoint_every=2",
        "modality.size=16",
    ]
    recipe = recipe_of("stable diffusion 1", tmp_path, *options)
    assert parse_recipe(to_yaml(recipe), "here") == recipe
    multigen.train(recipe, out=tmp_path / "whole", device="cpu", quiet=True)
    inner, count = Trainer._update, itertools.count()

    def stopped(self: Trainer, batch: Any) -> dict[str, float]:
        if next(count) == 3:
            raise KeyboardInterrupt
        return inner(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_update", stopped)
        with pytest.raises(KeyboardInterrupt):
            multigen.train(recipe, out=tmp_path / "parts", device="cpu", quiet=True)
    (tmp_path / "parts" / FOLDER / "00002.png").unlink()  # is made again, by what the training began from
    multigen.train(recipe, out=tmp_path / "parts", device="cpu", quiet=True)
    last = [checkpoints.path_of(tmp_path / run / "checkpoints", 4) for run in ("whole", "parts")]
    for file in ("weights", "ema", "optimizer"):
        one, two = (load_file(path / f"{file}.safetensors") for path in last)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_has_not_learned_makes_no_class() -> None:
    recipe = load_recipe("image_digits", ["weights=null", "train.prior={prompt: '3'}"])
    with pytest.raises(RecipeError, match=r"train.init: null is not allowed with train.prior"):
        check_combination(recipe)
    for wrong, why in {
        "train.prior={prompt: a, count: 0}": "train.prior.count: 0 is not allowed. Allowed: a whole number, at least 1",
        "train.prior={count: 3}": "train.prior.prompt: missing",
        "train.prior={prompt: a, wait: 1}": "Did you mean 'weight'",
    }.items():
        with pytest.raises(RecipeError, match=why):
            load_recipe("image_digits", [wrong])
