"""The folder of a user's media, as a recipe's `data.path` names it."""

from __future__ import annotations

import os
from pathlib import Path

from multigen.errors import RecipeError, nearest
from multigen.recipe.home import expanded_path


def find_folder(path: str | None, example: str) -> Path:
    """The folder that a recipe's `data.path` names, as an absolute path.

    `example` shows how to give a path if there is none. RecipeError says what is wrong and what is near.
    """
    if not path:
        raise RecipeError(f"data.path: say where your files are, e.g. {example}")
    folder = Path(os.path.abspath(expanded_path(path)))
    if folder.is_dir():
        return folder
    if folder.exists():
        raise RecipeError(f"data.path: {folder} is a file; give the folder that holds it")
    parent = folder.parent
    while not parent.is_dir():
        folder, parent = parent, parent.parent
    inside = sorted(e.name for e in os.scandir(parent) if e.is_dir() and not e.name.startswith("."))
    near = nearest(folder.name, inside)
    hint = f" Did you mean {str(parent / near)!r}?" if near else f" {parent} exists."
    raise RecipeError(f"data.path: {path!r} is not there: there is no folder {folder}.{hint}")
