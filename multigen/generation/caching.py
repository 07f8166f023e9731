"""What a request reuses from step to step: its cache, resolved for the model and for what is made."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import Any

from multigen import registry
from multigen.core.caching import Caching
from multigen.core.samplers import sampler_traits
from multigen.errors import MultigenError, RecipeError, reason
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request
from multigen.recipe.dump import to_data
from multigen.recipe.schema import Recipe
from multigen.registry import Part
from multigen.storage.measured import FILE, UNREADABLE

log = logging.getLogger(__name__)

OFF = Part("off")
AUTO = "auto"
STAGE = "cache"  # of `measured.json`
# What a cache is measured with, and what its quality holds for.
_WITH = ("sampler", "timesteps", "guide", "modifiers")


def plan_cache(parts: ModelParts, recipe: Recipe, request: Request) -> Part:
    """The cache of a request. MultigenError for one that does not go with it, or with the network."""
    asked = recipe.sample.cache
    if asked is None or asked.name == AUTO:
        return _measured(parts, recipe, request)
    caching = caching_of(parts, asked)
    if caching.off:
        return asked
    if sampler_traits(registry.lookup("sampler", recipe.sampler.name)).one_sample:
        raise MultigenError(
            f"sample.cache: {asked.name} is not allowed with the sampler {recipe.sampler.name}, which chooses its "
            "steps by the errors that it meets. Allowed: off"
        )
    if request.edit is not None and request.edit.restore is not None:
        log.warning("sample.cache: a restoration needs gradients of the whole network; nothing is reused")
        return OFF
    return asked


def caching_of(parts: ModelParts, part: Part, where: str = "sample.cache") -> Caching:
    """The cache that a part names. RecipeError for one that the network cannot follow."""
    caching: Caching = registry.build("cache", part, where=where)
    most = parts.denoiser.backbone.outermost
    if caching.due is not None and not caching.outer <= most:
        allowed = (
            f"outer=1 to {most}"
            if most
            else "off, guidance; this network cannot run without its inner layers"
        )
        raise RecipeError(f"{where} ({part.name}): outer={caching.outer} is not allowed. Allowed: {allowed}.")
    return caching


def measured_with(recipe: Recipe) -> dict[str, Any]:
    """How a recipe samples, as far as the quality of a cache depends on it."""
    data = to_data(recipe)
    polish = data["sample"]["polish"]
    return {key: data[key] for key in _WITH} | {"steps": recipe.sample.steps, "polish": polish}


def _measured(parts: ModelParts, recipe: Recipe, request: Request) -> Part:
    """What was measured of the weights, where a request samples as it was measured; else off."""
    found = parts.measured.get(STAGE)
    if not isinstance(found, dict) or request.edit is not None or recipe.loras:
        return OFF
    steps = recipe.sample.steps if request.steps is None else request.steps
    here = measured_with(dataclasses.replace(recipe, sample=dataclasses.replace(recipe.sample, steps=steps)))
    if found.get("with") != here or request.guidance_scale is not None or request.sliding_window:
        return OFF
    given = found.get("part")
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        return OFF
    part = Part(given["name"], {k: v for k, v in given.items() if k != "name"})
    try:
        caching_of(parts, part, f"{FILE}: cache")
    except UNREADABLE as error:  # a cache of a newer version, or of a package that is not installed
        _say_ignored(reason(error))
        return OFF
    return part


@functools.lru_cache(maxsize=128)
def _say_ignored(why: str) -> None:
    """Warn of a measured cache that cannot be used, once: each request asks for it."""
    log.warning("%s; what was measured is ignored", why)
