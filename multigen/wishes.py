"""Requests as text: a prompt, or a line of JSON that says more."""

from __future__ import annotations

import dataclasses
import json
import typing

from multigen import registry
from multigen.errors import MultigenError, RecipeError, message
from multigen.sampling import Wish


def wish(text: str, where: str) -> Wish:
    """A line as a request: JSON where it begins with a brace, a prompt otherwise.

    `{"prompt": "red apple", "seed": 3, "steps": 20, "overrides": ["sampler.name=ddim"]}`; the keys are the fields of
    `Wish`. MultigenError names the place, an unknown key and the nearest, a value of another type.
    """
    if not text.startswith("{"):
        return Wish(text)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise MultigenError(f"{where}: not JSON ({error})") from None
    known = {field.name for field in dataclasses.fields(Wish)}
    hints = typing.get_type_hints(Wish)
    for key in data:
        if key not in known:
            raise MultigenError(message(f"{where}: {key}", key, sorted(known)))
    try:
        return Wish(**{k: registry.convert(hints[k], v, f"{where}: {k}") for k, v in data.items()})
    except RecipeError as error:
        raise MultigenError(str(error)) from None
