"""Running a recipe where something is already: the same goes on, another gets a folder of its own or is refused.

Nothing that a run folder holds is replaced by another recipe's.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multigen.errors import RecipeError
from multigen.model.source import RECIPE, is_finished, is_trained
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe, parse_recipe
from multigen.recipe.manifest import FILE as MANIFEST
from multigen.recipe.manifest import recipe_changes
from multigen.recipe.schema import Recipe
from multigen.runs import resume
from multigen.runs.asked import listed, shown
from multigen.runs.folders import run_folder
from multigen.storage.files import write_text
from multigen.training import checkpoint as checkpoints

log = logging.getLogger(__name__)

Change = tuple[str, Any, Any]
# Sections that change nothing of what a run makes.
_ASIDE = ("launch", "evaluate", "provenance", "description")


class Place(NamedTuple):
    """The folder that a command works in, and the recipe that it follows there."""

    folder: Path
    recipe: Recipe


def choose(
    recipe: Recipe, out: Path | None, command: Literal["run", "train"], *, force: bool = False
) -> Place:
    """Where a recipe runs: `out`, or runs/<recipe name>, if that is free or holds the same recipe.

    Without `out` another recipe goes to runs/<recipe name>-2 and so on, which the log says. Where only its sampling is
    another and the former is trained, its media are made with that training. RecipeError with the list of differences
    where `out` holds another recipe and `force` is not given.
    """
    first = run_folder(recipe, out)
    found = differences(first, recipe, command)
    if not found.changes or force:
        return Place(first, recipe)
    if out is not None:
        raise RecipeError(_refusal(first, found))
    if command == "run" and is_finished(first) and not found.training:
        recipe = dataclasses.replace(recipe, weights=str(first.resolve()))
    for k in itertools.count(2):
        folder = first.with_name(f"{first.name}-{k}")
        if not differences(folder, recipe, command).changes:
            why = listed(rows(found.changes))
            log.warning("%s holds another recipe (%s): this one is in %s", first, why, folder)
            return Place(folder, recipe)
    raise AssertionError


class Difference(NamedTuple):
    """How a recipe differs from that of a folder: (key, there, now); whether it would be another training."""

    changes: list[Change]
    training: bool


def differences(folder: Path, recipe: Recipe, command: Literal["run", "train"]) -> Difference:
    """How a recipe differs from that of a folder where there is something to keep."""
    if not holds(folder):
        return Difference([], training=False)
    try:
        before = load_recipe(str(folder / RECIPE))
    except RecipeError as error:
        return Difference([("recipe", str(error), recipe.name)], training=True)
    if command == "train" or is_trained(folder):
        recipe = dataclasses.replace(recipe, weights=None)
    recipe = resume.with_found(recipe, before)
    trained = resume.training_changes(before, recipe)
    found = [c for c in recipe_changes(before, recipe) if c[0].partition(".")[0] not in _ASIDE]
    if recipe.weights is not None and before.weights is not None:
        return Difference([c for c in found if not c[0].startswith("train.")], training=False)
    if command == "train" or not (folder / MANIFEST).is_file():
        found = [*trained, *(c for c in found if c[0] == "weights")]
    return Difference([c for c in found if not resume.is_free(c[0])], bool(trained))


def holds(folder: Path) -> bool:
    """Whether there is something to keep in a run folder: a training, or media."""
    return (folder / RECIPE).is_file() and (
        is_finished(folder)
        or bool(checkpoints.found(folder / "checkpoints"))
        or (folder / MANIFEST).is_file()
    )


def rows(changes: Sequence[Change]) -> list[str]:
    """Changes as text: "key: there -> now"."""
    return [f"{key}: {shown(there)} -> {shown(now)}" for key, there, now in changes]


def _refusal(folder: Path, found: Difference) -> str:
    """Why a recipe cannot run in a folder."""
    what = f"holds another training of {_name(folder)}" if found.training else "holds media of another recipe"
    how = (
        "Give another folder with --out, or --force to continue in this one with the new settings."
        if found.training
        else f"Give another folder with --out, or make more media with: multigen sample {folder}"
    )
    return f"{folder} {what} ({listed(rows(found.changes))}). {how}"


def _name(folder: Path) -> str:
    try:
        return load_recipe(str(folder / RECIPE)).name
    except RecipeError:
        return "a recipe that cannot be read"


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the recipe of a run folder. One that somebody wrote by hand is kept, as recipe-1.yaml and so on."""
    path, text = folder / RECIPE, to_yaml(recipe)
    if path.is_file() and (there := path.read_text(encoding="utf-8-sig")) != text and not _ours(there):
        kept = next(p for k in itertools.count(1) if not (p := folder / f"recipe-{k}.yaml").exists())
        path.rename(kept)
        log.info("%s: the recipe as it was written is now %s", folder, kept.name)
    write_text(path, text)


def _ours(text: str) -> bool:
    """Whether a recipe's text is one that multigen wrote."""
    try:
        return to_yaml(parse_recipe(text, RECIPE)) == text
    except RecipeError:
        return False
