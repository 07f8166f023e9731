"""A model's recipe under a request, and what all requests of one model share."""

from __future__ import annotations

import dataclasses

from multigen import registry
from multigen.core.samplers import sampler_traits
from multigen.errors import MultigenError
from multigen.generation.guidance import check_guidance, guide_part
from multigen.generation.part_like import part_of
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request
from multigen.recipe.sampling import sampling_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import Part


def request_recipe(parts: ModelParts, request: Request) -> Recipe:
    """The model's recipe under a request's overrides, sampler and guide."""
    recipe = sampling_recipe(parts.recipe, request.overrides) if request.overrides else parts.recipe
    check_shared(recipe, parts.recipe)
    if request.sampler is not None:
        recipe = dataclasses.replace(recipe, sampler=part_of(request.sampler, "sampler", "ddim", "eta: 0.5"))
    if request.guide is not None:
        guide = part_of(request.guide, "guide", "cfg", "scale: 3")
        recipe = dataclasses.replace(recipe, guide=guide_part(guide, request.guidance_scale))
    if request.cache is not None:
        cache = part_of(request.cache, "cache", "deep", "every: 3")
        recipe = dataclasses.replace(recipe, sample=dataclasses.replace(recipe.sample, cache=cache))
    if recipe is not parts.recipe:
        check_guidance(recipe, parts.denoiser)
    return recipe


def check_shared(recipe: Recipe, own: Recipe) -> None:
    """MultigenError where a request's recipe changes what the model was loaded with."""
    if recipe.loras != own.loras:
        raise MultigenError("loras: the requests of one model share its weights; load another for others")
    if recipe.fast != own.fast:
        raise MultigenError("fast: the requests of one model share its weights; load another for the student")
    shared = (
        ("adapters", recipe.adapters, own.adapters),
        ("conditioner.numbers", recipe.conditioner, own.conditioner),
        ("codec", recipe.codec, own.codec),
        ("safety", recipe.safety, own.safety),
    )
    for name, part, theirs in shared:
        if part != theirs:
            raise MultigenError(f"{name}: the requests of one model share them; load another for others")
    if recipe.provenance != own.provenance:
        raise MultigenError(
            "provenance: the requests of one model share it; load another, or start another server"
        )
    if recipe.seed != own.seed:
        raise MultigenError("seed: it is no override of one request; give it as the request's own")


def deterministic(recipe: Recipe) -> Recipe:
    """How an inversion goes back: fresh noise or polish would not find the source again."""
    name = sampler_traits(registry.lookup("sampler", recipe.sampler.name)).deterministic
    sampler = recipe.sampler if name is None else Part(name)
    polish = dataclasses.replace(recipe.sample.polish, passes=0)
    sample = dataclasses.replace(recipe.sample, polish=polish)
    return dataclasses.replace(recipe, sampler=sampler, sample=sample)
