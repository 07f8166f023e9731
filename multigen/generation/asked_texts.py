"""Every text of a request that a model hears: what the filters of prompts look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from multigen.generation.request import Request
from multigen.recipe.schema import Recipe


def asked_texts(request: Request, recipe: Recipe) -> Iterator[str]:
    """The prompt, that of an inversion, words at the opening and the ending, and texts that guides take.

    recipe  the model's, under the request's overrides

    What is to be avoided is not among them.
    """
    yield request.prompt
    if request.edit is not None and request.edit.invert:
        yield request.edit.invert
    yield from (text for text in (recipe.sample.opening, recipe.sample.ending) if text)
    for part in (recipe.guide, *recipe.modifiers):
        yield from _texts(part.args)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from (*_texts(key), *_texts(one))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
