"""Loading: a trained model from a run folder, a weights file or a recipe that was run here."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from multigen.errors import MultigenError
from multigen.model import Model
from multigen.recipe import Recipe, load_recipe, parse_recipe
from multigen.training import checkpoint as checkpoints

WEIGHTS = "weights.safetensors"
RECIPE = "recipe.yaml"


def load(source: str | Path, *, device: str | None = None) -> Model:
    """A trained model from a run folder, a weights file, or a recipe (by path or name) that was run here.

    Weights are safetensors only. MultigenError if there is nothing, or nothing trained, at `source`.
    """
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        return _load_file(path, device)
    if path.is_dir():
        if not (path / RECIPE).is_file():
            raise MultigenError(f"{path}: not a run folder: it has no {RECIPE}")
        return load_run(path, load_recipe(str(path / RECIPE)), device=device)
    recipe = load_recipe(str(source))
    folder = Path("runs") / recipe.name
    if not (folder / RECIPE).is_file():
        raise MultigenError(
            f"{source}: nothing is trained for this recipe yet: there is no run folder {folder}. "
            f"Train it with: multigen train {source}"
        )
    return load_run(folder, load_recipe(str(folder / RECIPE)), device=device)


def load_run(folder: Path, recipe: Recipe, *, device: str | None = None) -> Model:
    """A model with the averaged weights of a run folder, under a recipe that may differ in how it samples."""
    model = Model(recipe, device=device)
    model.load_weights(run_weights(folder), str(folder))
    return model


def run_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a run folder: the final ones, or the average in the newest checkpoint that verifies."""
    if (folder / WEIGHTS).is_file():
        return checkpoints.load_tensors(folder / WEIGHTS)
    newest = checkpoints.newest(folder / "checkpoints")
    if newest is None:
        raise MultigenError(
            f"{folder}: no weights yet; train with: multigen train {folder / RECIPE} --out {folder}"
        )
    return checkpoints.load_tensors(newest / "ema.safetensors")


def read_weights(source: str | Path) -> dict[str, Tensor]:
    """Weights from a safetensors file or a run folder, for `train.init`."""
    path = Path(source).expanduser()
    return run_weights(path) if path.is_dir() else checkpoints.load_tensors(path)


def _load_file(path: Path, device: str | None) -> Model:
    from safetensors import safe_open

    tensors = checkpoints.load_tensors(path)
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
    if "recipe" not in header:
        raise MultigenError(f"{path}: no recipe in its header; use the run folder, or train.init={path}")
    model = Model(parse_recipe(header["recipe"], f"{path} (header)"), device=device)
    model.load_weights(tensors, str(path))
    return model
