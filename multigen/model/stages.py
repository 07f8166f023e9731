"""The stages of a cascade that come before a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

from multigen.cascades import Cascade, Link
from multigen.errors import RecipeError
from multigen.generation.parts import ModelParts
from multigen.model.build import FOREIGN
from multigen.model.source import Found, find
from multigen.recipe.schema import Sample


def stage_before(stages: Sequence[str], there: Sequence[Found] = ()) -> Found:
    """The last of some stages, its recipe naming those before it. RecipeError if one takes nothing from before.

    there  the stages themselves, where they came with the weights of the model
    """
    *earlier, last = stages
    if there:
        return there[-1]._replace(stages=tuple(there[:-1]))
    found = find(last)
    if not earlier:
        return found
    if found.recipe.cascade is None:
        raise RecipeError(
            f"stages: {last} is no later stage, because its recipe has no cascade. Allowed: it comes first."
        )
    return found._replace(recipe=dataclasses.replace(found.recipe, stages=tuple(earlier)))


def _as_held(found: Found, sample: Sample) -> Found:
    """A stage whose networks, where they are a pipeline's, share memory as those of the stage after it do."""
    recipe = found.recipe
    if recipe.backbone is None or recipe.backbone.name != FOREIGN or recipe.sample.offload is not None:
        return found
    held = dataclasses.replace(recipe.sample, offload=sample.offload)
    return found._replace(recipe=dataclasses.replace(recipe, sample=held))


P = TypeVar("P", bound=ModelParts)


def former_of(parts: ModelParts, there: Sequence[Found], load: Callable[[Found], P]) -> P:
    """The stage before a model, of which that knows now. RecipeError where it cannot take what that makes."""
    former = load(_as_held(stage_before(parts.recipe.stages, there), parts.recipe.sample))
    try:
        if parts.cascade is not None:
            parts.cascade.follow(former.modality)
    except ValueError as error:
        raise RecipeError(f"{error} ({former.recipe.name})") from error
    return former


def trained(cascade: Link | None) -> Cascade | None:
    """How a model that learns sees the stage before it. RecipeError for one that is told embeddings."""
    if cascade is None or isinstance(cascade, Cascade):
        return cascade
    raise RecipeError("cascade: a network that is told embeddings is sampled, not trained or measured, here")
