"""The stages of a cascade that come before a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from multigen.cascades import Cascade, Link
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.model.source import Found, find


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


def follow(cascade: Link | None, former: Modality, name: str) -> None:
    """Tell a model what the stage before makes. RecipeError where it cannot take that."""
    try:
        if cascade is not None:
            cascade.follow(former)
    except ValueError as error:
        raise RecipeError(f"{error} ({name})") from error


def trained(cascade: Link | None) -> Cascade | None:
    """How a model that learns sees the stage before it. RecipeError for one that is told embeddings."""
    if cascade is None or isinstance(cascade, Cascade):
        return cascade
    raise RecipeError("cascade: a network that is told embeddings is sampled, not trained or measured, here")
