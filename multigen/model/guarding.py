"""The guard of a model: the filters of its recipe, and the safety checker of the folder that its network is from."""

from __future__ import annotations

from multigen.recipe.schema import Recipe
from multigen.registry import Part
from multigen.safety.checker import checker_of
from multigen.safety.guard import Guard, guard_of
from multigen.storage.diffusers_folder import located
from multigen.storage.pipeline_place import stage_of

_FOREIGN = "diffusers"  # the backbone of networks that come from a pipeline


def guarded(recipe: Recipe) -> Guard:
    """The guard of a recipe. MultigenError for a folder that is not there."""
    return guard_of(recipe, _own(recipe))


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
