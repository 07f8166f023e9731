"""What all requests of one model share: its weights, and how its parts are set up."""

from __future__ import annotations

from multigen.errors import MultigenError
from multigen.recipe.schema import Recipe


def check_shared(recipe: Recipe, own: Recipe) -> None:
    """MultigenError where a request's recipe changes what the model was loaded with."""
    if recipe.loras != own.loras:
        raise MultigenError("loras: the requests of one model share its weights; load another for others")
    shared = (
        ("adapters", recipe.adapters, own.adapters),
        ("conditioner.numbers", recipe.conditioner, own.conditioner),
        ("codec", recipe.codec, own.codec),
    )
    for name, part, theirs in shared:
        if part != theirs:
            raise MultigenError(f"{name}: the requests of one model share them; load another for others")
    if recipe.seed != own.seed:
        raise MultigenError("seed: it is no override of one request; give it as the request's own")
