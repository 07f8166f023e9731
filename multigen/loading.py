"""Loading: a trained model from a run folder, a weights file or a recipe that was run here."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from multigen.errors import MultigenError
from multigen.model import Model
from multigen.recipe import Recipe, load_recipe, parse_recipe
from multigen.training import checkpoint as checkpoints

WEIGHTS = "weights.safetensors"
RECIPE = "recipe.yaml"


class Found(NamedTuple):
    """What stands at a source: the recipe, the weights, and how messages call it."""

    recipe: Recipe
    tensors: dict[str, Tensor]
    where: str


def load(source: str | Path, *, device: str | None = None) -> Model:
    """A trained model from a run folder, a weights file, or a recipe (by path or name) that was run here.

    Weights are safetensors only. MultigenError if there is nothing, or nothing trained, at `source`.
    """
    found = find(source)
    return build(found, found.recipe, device=device)


def build(found: Found, recipe: Recipe, *, device: str | None = None) -> Model:
    """The model of a recipe, which may differ from the found one in how it samples, with the found weights."""
    model = Model(recipe, device=device)
    model.load_weights(found.tensors, found.where)
    return model


def find(source: str | Path) -> Found:
    """Recipe and weights at a source, as `load` takes it."""
    path = Path(source).expanduser()
    if path.suffix == ".safetensors" or (path.is_file() and path.suffix not in (".yaml", ".yml")):
        return _in_file(path)
    if path.is_dir():
        if not (path / RECIPE).is_file():
            raise MultigenError(f"{path}: not a run folder: it has no {RECIPE}")
        return in_run(path)
    recipe = load_recipe(str(source))
    folder = Path("runs") / recipe.name
    if not (folder / RECIPE).is_file():
        raise MultigenError(
            f"{source}: nothing is trained for this recipe yet: there is no run folder {folder}. "
            f"Train it with: multigen train {source}"
        )
    return in_run(folder)


def in_run(folder: Path) -> Found:
    """Recipe and averaged weights of a run folder."""
    return Found(load_recipe(str(folder / RECIPE)), run_weights(folder), str(folder))


def run_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a run folder: the final ones, or the average in the newest checkpoint that verifies."""
    if (folder / WEIGHTS).is_file():
        return checkpoints.load_tensors(folder / WEIGHTS)
    newest = checkpoints.newest(folder / "checkpoints")
    if newest is None:
        raise MultigenError(f"{folder}: no weights yet; train with: multigen train {folder}")
    return checkpoints.load_tensors(newest / "ema.safetensors")


def read_weights(source: str | Path) -> dict[str, Tensor]:
    """Weights from a safetensors file or a run folder, for `train.init`."""
    path = Path(source).expanduser()
    return run_weights(path) if path.is_dir() else checkpoints.load_tensors(path)


def _in_file(path: Path) -> Found:
    from safetensors import safe_open

    tensors = checkpoints.load_tensors(path)
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
    if "recipe" not in header:
        raise MultigenError(f"{path}: no recipe in its header; use the run folder, or train.init={path}")
    return Found(parse_recipe(header["recipe"], f"{path} (header)"), tensors, str(path))
