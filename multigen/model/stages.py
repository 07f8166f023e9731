"""The stages of a cascade that come before a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from multigen.errors import RecipeError
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
