"""What trainings that leave their base as it is have made of it: LoRAs, new words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from multigen import registry
from multigen.core.backbone import Backbone
from multigen.recipe.paths import WEIGHTS
from multigen.recipe.schema import Recipe
from multigen.storage import lora, words
from multigen.storage.diffusers_folder import CONTROLNET
from multigen.training import checkpoint as checkpoints
from multigen.training.adapting import Adaptation, Learned, Made

_LEFT = {
    WEIGHTS: "weights",
    lora.FILE: "a LoRA",
    words.FILE: "a new word",
    f"{CONTROLNET}/config.json": "a ControlNet",
}


def is_finished(folder: Path) -> bool:
    """Whether a training has left its final weights in a run folder."""
    return any((folder / name).exists() for name in _LEFT)


def what_is_left(folder: Path) -> str:
    """What a finished training has left, for messages."""
    return next(what for name, what in _LEFT.items() if (folder / name).exists())


def unfinish(folder: Path) -> None:
    """Remove what a training has left in its run folder, but for its checkpoints."""
    for name in _LEFT:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / CONTROLNET, ignore_errors=True)


def adaptation(recipe: Recipe) -> Adaptation:
    """What learns in place of the weights, by the recipe."""
    assert recipe.train.adapter is not None
    return registry.build("adapter", recipe.train.adapter, where="train.adapter")


def tuned(recipe: Recipe, folder: Path, newest: Callable[[Path], Path]) -> Made:
    """What is in a run folder: at its end, or averaged in the checkpoint that `newest` finds."""
    part = adaptation(recipe)
    return part.read(folder) if (folder / part.place).exists() else in_checkpoint(recipe, newest(folder))


def in_checkpoint(recipe: Recipe, path: Path) -> Made:
    """What is averaged in a checkpoint."""
    state = checkpoints.load(path)
    backbone: type[Backbone] = registry.lookup("backbone", recipe.network.name)
    published = backbone.published_with(recipe.network.args)
    learned = Learned(state.tensors["ema"], recipe, published, state.state.get("base"))
    return adaptation(recipe).made(learned)
