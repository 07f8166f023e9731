"""What of a trained recipe may still change: how it samples. The rest belongs to its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from multigen.errors import RecipeError
from multigen.recipe.load import override_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import Part

# Keys of a recipe that shape what is trained.
TRAINED = ("modality", "data", "codec", "conditioner", "backbone", "schedule", "prediction", "masked")
# Arguments of the codec that say how media are decoded; whoever samples may change them.
DECODING = ("codec.vocoder", "codec.iterations")


def without_decoding(recipe: Recipe) -> Recipe:
    """The recipe without what its codec does only after sampling; a vocoder that it trains itself stays."""
    if recipe.trains == "codec":
        return recipe
    args = {k: v for k, v in recipe.codec.args.items() if f"codec.{k}" not in DECODING}
    return dataclasses.replace(recipe, codec=Part(recipe.codec.name, args))


def sampling_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe under sampling overrides; RecipeError if one would change what was trained."""
    changed = override_recipe(recipe, overrides)
    for key in (*TRAINED, "train", "weights"):
        if getattr(without_decoding(changed), key) != getattr(without_decoding(recipe), key):
            raise RecipeError(
                f"{key}: this belongs to the training of {recipe.name}; when sampling, override only "
                f"sampler, timesteps, guide, sample, evaluate, loras, seed, {', '.join(DECODING)}"
            )
    return changed
