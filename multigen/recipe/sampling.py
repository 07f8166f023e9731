"""Overrides for sampling: how a trained recipe samples may change; what its weights were trained with may not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from multigen.errors import RecipeError
from multigen.recipe.load import override_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import Part

# Keys of a recipe that determine what is trained.
TRAINED = (
    "modality",
    "data",
    "codec",
    "conditioner",
    "backbone",
    "schedule",
    "prediction",
    "masked",
    "cascade",
)
# Arguments of the codec that only affect decoding, and so may change.
DECODING = (
    "codec.vocoder", "codec.iterations", "codec.decode_timestep", "codec.decode_noise", "codec.tiling", "codec.slicing",
)  # fmt: skip
# Argument of the conditioner that only affects what a pipeline's network is told.
NUMBERS = "numbers"
# Argument of the backbone that only affects how its weights are held.
DTYPE = "dtype"
# Arguments of the cascade that only affect sampling.
_LEVEL = "level"


def without_decoding(recipe: Recipe) -> Recipe:
    """Return the recipe without settings of its parts that only affect what is sampled with its weights.

    A vocoder that it trains stays.
    """
    if recipe.trains == "codec":
        return recipe
    if recipe.cascade is not None:
        kept = {k: v for k, v in recipe.cascade.args.items() if k != _LEVEL}
        recipe = dataclasses.replace(recipe, cascade=Part(recipe.cascade.name, kept))
    args = {k: v for k, v in recipe.codec.args.items() if f"codec.{k}" not in DECODING}
    said = {k: v for k, v in recipe.conditioner.args.items() if k != NUMBERS}
    conditioner = Part(recipe.conditioner.name, said)
    held = {k: v for k, v in recipe.network.args.items() if k != DTYPE}
    backbone = Part(recipe.network.name, held)
    codec = Part(recipe.codec.name, args)
    return dataclasses.replace(recipe, codec=codec, conditioner=conditioner, backbone=backbone)


def sampling_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Apply overrides for sampling to a recipe. RecipeError for one that would change what was trained."""
    changed = override_recipe(recipe, overrides)
    check_sampling(recipe, changed)
    return changed


def check_sampling(recipe: Recipe, changed: Recipe) -> None:
    """RecipeError where overrides would change what was trained."""
    more = "" if recipe.cascade is None else f", stages, cascade.{_LEVEL}"
    for key in (*TRAINED, "train", "weights"):
        if getattr(without_decoding(changed), key) != getattr(without_decoding(recipe), key):
            raise RecipeError(
                f"{key}: the weights of {recipe.name} were trained with it. For sampling, override only "
                f"sampler, timesteps, guide, sample, evaluate, provenance, watermark, fast, loras, adapters, seed, "
                f"{', '.join(DECODING)}, conditioner.{NUMBERS}, backbone.{DTYPE}{more}"
            )
