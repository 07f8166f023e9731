"""Folders for results: new ones beside older ones, and which run folder a command works in."""

from __future__ import annotations

import itertools
from pathlib import Path

from multigen.recipe.paths import RECIPE
from multigen.recipe.schema import Recipe


def run_folder(recipe: Recipe, out: Path | None) -> Path:
    """The run folder of a recipe: `out`, or runs/<recipe name>."""
    return out or Path("runs") / recipe.name


def is_run_folder(path: str | Path) -> bool:
    """Whether a run folder is at the path."""
    return (Path(path).expanduser() / RECIPE).is_file()


def new_folder(base: Path) -> Path:
    """Make base-1, or base-2 and so on: the first that does not exist, so that two commands never share one."""
    for k in itertools.count(1):
        folder = base.with_name(f"{base.name}-{k}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise AssertionError
