"""Every text of a request that a model hears: what the filters of prompts look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from multigen import registry
from multigen.generation.guidance import asked_guide
from multigen.generation.request import Request
from multigen.recipe.schema import Recipe
from multigen.registry import Part


def asked_texts(request: Request, recipe: Recipe) -> Iterator[str]:
    """The prompt, that of an inversion, words at the opening and the ending, and texts that guides take.

    recipe  the model's, under the request's overrides

    What is to be avoided, by a negative prompt or the modifier `safe`, is not among them; a negative prompt is where
    the guide leads towards it.
    """
    yield request.prompt
    if request.edit is not None and request.edit.invert:
        yield request.edit.invert
    yield from (text for text in (recipe.sample.opening, recipe.sample.ending) if text)
    for part in (recipe.guide, *recipe.modifiers):
        if part.name != "safe":
            yield from _texts(part.args)
    negative = recipe.sample.negative_prompt if request.negative_prompt is None else request.negative_prompt
    if negative and _leads_to_null(asked_guide(recipe, request.guidance_scale)):
        yield negative


def _leads_to_null(guide: Part) -> bool:
    """Whether a guide may lead towards the unconditional or negative prediction instead of away from it.

    cfg, cfg_zero, apg  weigh it by 1 - scale; apg turns round with a norm below 0, or a momentum below -1
    compose             weighs it by 1 - scale - the sum of the weights
    others              are not known: they do below scale 1, and where they have no scale
    """
    listed = {a.name: a.default for a in registry.arguments("guide", guide.name, "guide")}
    known = {**listed, **registry.check("guide", guide)}
    if guide.name in ("plain", "distilled", "autoguidance"):
        return False
    scale, first = known.get("scale"), known.get("first")
    if not _above(scale, 1) or (first is not None and not _above(first, 1)):
        return True
    if guide.name == "compose":
        return not _above(scale + sum(known.get("weights", ())), 1)
    return guide.name == "apg" and not (_above(known.get("norm") or 0, 0) and _above(known["momentum"], -1))


def _above(value: Any, least: float) -> bool:
    """Whether it is a number of at least `least`; not a number is none."""
    return isinstance(value, int | float) and value >= least


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from (*_texts(key), *_texts(one))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
