"""Continuing in a run folder: from which checkpoint, and whether it is the same training."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multigen.errors import RecipeError, TrainingError
from multigen.model.source import RECIPE, is_finished
from multigen.recipe.load import load_recipe
from multigen.recipe.manifest import recipe_changes, versions
from multigen.recipe.sampling import TRAINED, without_decoding
from multigen.recipe.schema import Recipe
from multigen.training import checkpoint as checkpoints
from multigen.training import ranks
from multigen.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)

# Keys of `train` that may change between two starts of one run.
FREE = frozenset(
    {"steps", "minutes", "workers", "cache", "checkpoint_every", "keep", "keep_every",
     "keep_best", "skip", "log_every", "held_out_every", "patience", "preview_every", "bad_media", "tensorboard",
     "wandb", "compile"}
)  # fmt: skip
# How many changes a message lists.
ROWS = 12


def newest(folder: Path, force: bool) -> Path | None:
    """The newest checkpoint of a run folder that verifies; removes what a killed training left.

    TrainingError if there are checkpoints and none verifies; with `force` they are set aside and training restarts.
    """
    place = folder / "checkpoints"
    with ranks.in_turn():
        if ranks.first():
            checkpoints.tidy(place)
        path = checkpoints.newest(place)
        if path is None and force and ranks.first():
            checkpoints.set_aside(checkpoints.found(place))
    if path is None and checkpoints.found(place) and not is_finished(folder):
        raise TrainingError(
            f"{place}: no checkpoint there verifies (the log above names each fault). Restore them from a copy, train "
            "in another folder with --out, or start over in this one with --force"
        )
    return path


def origin(recipe: Recipe) -> Mapping[str, Any]:
    """What a checkpoint records of its origin."""
    return {"recipe": recipe.name, "versions": versions()}


def note_versions(state: Checkpoint) -> None:
    """Warn that the continued training is not bit-exact, since another version of torch rounds differently."""
    before, now = state.state.get("versions"), versions()
    if isinstance(before, Mapping) and before.get("torch") not in (None, now["torch"]):
        log.warning(
            "the checkpoint was made with torch %s, this is %s: the training is not bit-exact",
            before["torch"],
            now["torch"],
        )


def complete(recipe: Recipe, state: Checkpoint) -> bool:
    """Whether the training that the recipe asks for is complete."""
    t, s = recipe.train, state.state
    by_steps = t.steps is not None and s["step"] >= t.steps
    by_time = t.minutes is not None and s["seconds"] >= 60 * t.minutes
    tired = t.patience > 0 and s.get("worse", 0) >= t.patience
    return by_steps or by_time or tired


def same_run(recipe: Recipe, folder: Path, force: bool) -> Recipe:
    """The recipe, with the classes that the folder's training filled in; RecipeError if it is another training."""
    path = folder / RECIPE
    if not path.is_file():
        return recipe
    before = load_recipe(str(path))
    recipe = with_found(recipe, before)
    changes = training_changes(before, recipe)
    if changes and not force:
        rows = "; ".join(f"{key}: {old!r} -> {new!r}" for key, old, new in changes[:ROWS])
        rows += f"; and {len(changes) - ROWS} more" if len(changes) > ROWS else ""
        raise RecipeError(
            f"{folder} holds another training of {before.name} ({rows}). Give another folder with --out, "
            "or --force to continue in this one with the new settings."
        )
    return recipe


def with_found(recipe: Recipe, before: Recipe) -> Recipe:
    """The recipe, with what the training of another found for it: the classes of the data, the size of the batch."""
    recipe = with_classes(recipe, before)
    if recipe.train.batch != "auto" or before.train.batch == "auto":
        return recipe
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, batch=before.train.batch))


def with_classes(recipe: Recipe, before: Recipe) -> Recipe:
    """The recipe, with the classes that the training of another filled in, where it leaves them to the data."""
    if (
        recipe.conditioner.args.get("classes") is not None
        or recipe.conditioner.name != before.conditioner.name
    ):
        return recipe
    filled = {k: v for k, v in before.conditioner.args.items() if k == "classes"}
    part = dataclasses.replace(recipe.conditioner, args={**recipe.conditioner.args, **filled})
    return dataclasses.replace(recipe, conditioner=part)


def training_changes(before: Recipe, now: Recipe) -> list[tuple[str, Any, Any]]:
    """Where another recipe would make another training: (key, before, now)."""
    return [c for c in recipe_changes(without_decoding(before), without_decoding(now)) if matters(c[0])]


def matters(key: str) -> bool:
    """Whether another value of a key makes another training."""
    head, _, rest = key.partition(".")
    return head in (*TRAINED, "seed") or (head == "train" and rest.partition(".")[0] not in FREE)


def is_free(key: str) -> bool:
    """Whether a key may change between two starts of one run."""
    head, _, rest = key.partition(".")
    return head == "train" and rest.partition(".")[0] in FREE
