"""Weights that a recipe names: found, checked, used without training, started from; and those that are shipped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import multigen
from multigen.cli.main import main
from multigen.errors import MultigenError, RecipeError
from multigen.generation.request import Request
from multigen.model import source as loading
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.recipe import paths
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe, parse_recipe
from multigen.recipe.manifest import read
from multigen.recipe.paths import public
from multigen.recipe.schema import Recipe
from multigen.recipe.source import shipped
from multigen.runs import jobs as runs
from multigen.runs.sample import sample

TINY = [
    "train.steps=2",
    "train.minutes=null",
    "train.batch=4",
    "train.preview_every=0",
    "train.tensorboard=false",
    "backbone.widths=[16,32]",
    "backbone.attention=[false,true]",
    "sample.steps=2",
    "sample.n=1",
    "sample.prompts=['3','8']",
]


def tiny(*overrides: str) -> Recipe:
    return load_recipe("image_digits", [*TINY, "weights=null", *overrides])


def weights_of(folder: Path) -> str:
    manifest = read(folder)
    assert manifest is not None
    (found,) = {entry["weights_hash"] for entry in manifest["files"]}
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.run(tiny(), out=tmp_path_factory.mktemp("trained") / "run", device="cpu", quiet=True)


def test_run_samples_with_the_weights_that_a_recipe_names(trained: Path, tmp_path: Path) -> None:
    """As the training run did, from its folder or its file, and without one step of training."""
    for name, source in (("folder", trained), ("file", trained / "weights.safetensors")):
        out = runs.run(tiny(f"weights={source}"), out=tmp_path / name, device="cpu", quiet=True)
        assert not (out / "checkpoints").exists()
        assert not (out / "weights.safetensors").exists()
        files, former = (read(folder)["files"] for folder in (out, trained))  # type: ignore[index]
        assert [f["unsigned_sha256"] for f in files] == [f["unsigned_sha256"] for f in former]
        again = runs.run(load_recipe(str(out)), out=out, device="cpu", quiet=True)  # its recipe is complete
        assert not (again / "media-1").exists()  # the same media: all are there
        sampled = sample(str(out), requests=[Request("5")], n=1, device="cpu", quiet=True)
        assert weights_of(sampled) == weights_of(trained)


def test_a_training_of_its_own_comes_before_named_weights(trained: Path, tmp_path: Path) -> None:
    recipe = tiny(f"weights={trained}", "seed=5")
    folder = runs.train(recipe, out=tmp_path / "own", device="cpu", quiet=True)
    own = multigen.load(folder, device="cpu").weights_hash()
    assert own != multigen.load(trained, device="cpu").weights_hash()
    assert load_recipe(str(folder)).weights is None
    runs.run(recipe, out=folder, device="cpu", quiet=True)
    assert weights_of(folder) == own


def test_half_precision_is_half_the_size_and_loads(trained: Path, tmp_path: Path) -> None:
    assert main(["export", str(trained), str(tmp_path / "half.safetensors"), "--half"]) == 0
    assert main(["export", str(trained), str(tmp_path / "whole.safetensors")]) == 0
    half, whole = (tmp_path / f"{n}.safetensors" for n in ("half", "whole"))
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    a, b = (multigen.load(p, device="cpu").state_dict() for p in (half, whole))
    assert all(v.dtype == b[k].dtype for k, v in a.items())
    for k, v in a.items():
        torch.testing.assert_close(v, b[k], rtol=1e-3, atol=1e-6)
    started = runs.train(
        tiny(f"train.init={half}", "train.lr=1e-12"), out=tmp_path / "run", device="cpu", quiet=True
    )
    after = multigen.load(started, device="cpu").state_dict()
    assert all(torch.allclose(v, a[k], atol=1e-5) for k, v in after.items())
    assert main(["export", str(trained), str(half)]) == 2  # nothing is written over


def test_exported_weights_keep_no_path(trained: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    init = tiny(f"train.init={trained}", "train.steps=1")
    folder = runs.train(init, out=tmp_path / "run", device="cpu", quiet=True)
    assert str(trained) in (folder / "recipe.yaml").read_text()
    assert main(["export", str(folder), str(tmp_path / "x.safetensors")]) == 0
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert "init: null" in (file.metadata() or {})["recipe"]
        assert str(trained.parent) not in (file.metadata() or {})["recipe"]


def test_numbers_beyond_half_precision_are_refused(trained: Path, tmp_path: Path) -> None:
    model = multigen.load(trained, device="cpu")
    with torch.no_grad():
        next(model.denoiser.backbone.parameters()).flatten()[0] = 1e6
    with pytest.raises(MultigenError, match="float16"):
        model.save(tmp_path / "x.safetensors", half=True)


def test_mistakes(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecipeError, match=r"weights: 'gone'.*Or a weights file, a run folder, or null"):
        runs.run(tiny("weights=gone"), out=tmp_path / "a", quiet=True)
    with pytest.raises(RecipeError, match=r"data.name: 'digits' there, 'mnist' here.*weights=null"):
        runs.run(tiny(f"weights={trained}", "data={name: mnist, path: x}"), out=tmp_path / "b", quiet=True)
    with pytest.raises(RecipeError, match=r"backbone.widths"):
        runs.run(tiny(f"weights={trained}", "backbone.widths=[16,48]"), out=tmp_path / "c", quiet=True)
    assert not any(tmp_path.iterdir())
    assert main(["run", "image_digits", *TINY, f"weights={trained}"]) == 2
    assert "train.steps=2: train.* has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("name", paths.shipped_weights())
def test_shipped_weights_are_small_true_to_their_recipe_and_have_a_card(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = paths.shipped_weights()[name]
    assert path.stat().st_size <= 20e6
    card = (path.parent / "README.md").read_text(encoding="utf-8")
    for part in ("Data", "Licence", "Training", "Evaluation", "Limits", "Not for"):
        assert f"## {part}" in card, f"{name}: the card says nothing of: {part}"
    recipe = load_recipe(name)
    assert recipe.weights == name
    found = loading.named(recipe, name)
    # The media of a vocoder are copies of its data, which are rendered first: some instead of 480 pieces.
    counted = "sentences" if "sentences" in recipe.data.args else "pieces"
    few = dataclasses.replace(recipe.data, args={**recipe.data.args, counted: 12})
    monkeypatch.setattr(
        runs, "build_dataset", lambda r, *m: build_dataset(dataclasses.replace(r, data=few), *m)
    )
    out = runs.run(
        load_recipe(name, ["sample.steps=2", f"sample.prompts=['{recipe.sample.prompts[0]}']", "sample.n=1"]),
        out=tmp_path / "run",
        device="cpu",
        quiet=True,
    )
    assert weights_of(out) == Model.of(found, recipe, device="cpu").weights_hash()


@pytest.mark.parametrize("name", paths.shipped_weights())
def test_the_recipe_in_the_header_of_shipped_weights_is_as_export_writes_it(name: str) -> None:
    with safe_open(paths.shipped_weights()[name], "pt") as file:
        text = file.metadata()["recipe"]
    assert to_yaml(public(parse_recipe(text, name))) == text


def test_every_recipe_that_names_weights_has_them() -> None:
    for name, path in shipped().items():
        weights = load_recipe(str(path), ["data.path=."] if "folder" in name else []).weights
        assert weights is None or weights in paths.shipped_weights(), name
