"""Training from Python: `multigen.train`."""

from __future__ import annotations

from pathlib import Path

from multigen.model.compatibility import check_combination
from multigen.model.load import load
from multigen.model.model import Model
from multigen.recipe.load import load_recipe, override_recipe
from multigen.recipe.schema import Recipe
from multigen.runs import jobs
from multigen.runs.folders import is_run_folder


def train(
    recipe: str | Path | Recipe,
    *overrides: str,
    out: str | Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Model:
    """Train a recipe and load the trained model; an interrupted training continues where its run folder stands.

    recipe     a YAML file, a run folder, the name of a shipped recipe, or a `Recipe`
    overrides  changes to it, as on the command line: "train.steps=2000"
    out        the run folder; by default runs/<recipe name>, or `recipe` itself where that is a run folder
    device     "cpu", "cuda", "cuda:1", "mps"; by default the best one here
    quiet      show no progress

    RecipeError for a recipe that cannot be trained; MultigenError if the folder holds another training.
    """
    if isinstance(recipe, Recipe):
        checked = override_recipe(recipe, overrides) if overrides else recipe
    else:
        checked = load_recipe(str(recipe), overrides)
        out = recipe if out is None and is_run_folder(recipe) else out
    check_combination(checked)
    folder = jobs.train(checked, out=None if out is None else Path(out), device=device, quiet=quiet)
    return load(folder, device=device)
