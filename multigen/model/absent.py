"""What is said of a model that is not there. Nothing here imports torch: it is said before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from multigen.errors import MultigenError, RecipeError, message
from multigen.recipe.paths import RECIPE, shipped_weights


def no_run(folder: Path) -> MultigenError:
    """A folder that is no run folder."""
    return MultigenError(f"{folder}: not a run folder: it has no {RECIPE}")


def no_weights(folder: Path) -> MultigenError:
    """A run folder in which nothing is trained so far."""
    return MultigenError(f"{folder}: no weights yet; train with: multigen train {folder}")


def nothing_trained(source: str | Path, folder: Path) -> MultigenError:
    """A recipe that has not been trained here."""
    return MultigenError(
        f"{source}: nothing is trained for this recipe yet: there is no run folder {folder}. "
        f"Train it with: multigen train {source}"
    )


def unknown_weights(where: str, source: str) -> RecipeError:
    """Weights that are neither shipped nor a file or folder; `where` is the key that names them."""
    return RecipeError(
        message(where, source, shipped_weights(), hint="Or a weights file, a run folder, or null.")
    )
