"""What guards a model's media: its filters, the checker of the folder that its network is from, and its novelty."""

from __future__ import annotations

import torch

from multigen.generation.nearness import Nearness
from multigen.modalities import Modality
from multigen.model.novelty import closeness_of
from multigen.recipe.schema import Recipe
from multigen.recipe.sections import Safety
from multigen.registry import Part
from multigen.safety.checker import checker_of
from multigen.safety.guard import Guard, guard_of
from multigen.storage.diffusers_folder import located
from multigen.storage.pipeline_place import stage_of

_FOREIGN = "diffusers"  # the backbone of networks that come from a pipeline


def guards_of(recipe: Recipe, modality: Modality, device: torch.device) -> tuple[Guard, Nearness | None]:
    """The filters of a recipe, and what watches for copies where it asks for that."""
    return guarded(recipe), closeness_of(recipe, modality, device)


def guarded(recipe: Recipe) -> Guard:
    """The guard of a recipe. MultigenError for a folder that is not there."""
    return guard_of(recipe, _own(recipe))


def unguarded(recipe: Recipe) -> Guard:
    """A guard without filters, whatever the recipe says."""
    return Guard(Safety(), recipe.name)


def _own(recipe: Recipe) -> tuple[Part, ...]:
    """The safety checker of a pipeline's folder, where it has one; single files have none."""
    path = (
        None
        if recipe.backbone is None or recipe.backbone.name != _FOREIGN
        else recipe.network.args.get("path")
    )
    if not isinstance(path, str) or recipe.network.args.get("config") is not None:
        return ()
    folder, _ = stage_of(located(path))
    return (Part("safety_checker", {"path": str(folder)}),) if checker_of(folder) else ()
