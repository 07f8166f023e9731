"""The model that a training teaches."""

from __future__ import annotations

import dataclasses

from multigen.errors import MultigenError
from multigen.model.diffusers import still
from multigen.model.model import Model
from multigen.recipe.schema import Recipe
from multigen.recipe.sections import Safety


def model_of(recipe: Recipe, device: str | None) -> Model:
    """The model that learns: what it samples with to save memory is left away, and what guards its media."""
    dtype = "fp32" if recipe.backbone is None else recipe.backbone.args.get("dtype", "fp32")
    if dtype == "int8" or (dtype != "fp32" and recipe.train.adapter is None):
        allowed = "fp32" if recipe.train.adapter is None else "fp32, bf16, fp16"
        raise MultigenError(
            f"backbone.dtype: {dtype} does not train. Allowed: {allowed}; train.precision=bf16 computes in bf16"
        )
    sample = dataclasses.replace(recipe.sample, offload=None, novelty=None)
    bare = dataclasses.replace(recipe, sample=sample, safety=Safety(checker="off"))
    model = Model(bare, device=device)
    model.recipe = still(recipe)
    return model
