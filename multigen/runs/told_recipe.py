"""Recipes and requests out of media files, which anybody may have written: what of them is taken."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multigen.errors import MultigenError, message
from multigen.generation.made import FIELDS
from multigen.recipe.dump import to_data
from multigen.recipe.load import override_recipe, parse_recipe
from multigen.recipe.schema import Recipe
from multigen.recipe.sections import Provenance, Safety
from multigen.runs.checks import declared_options

# A path that leaves the folder where one stands: absolute, of a home or another host, or upwards.
_OUTSIDE = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)
_HOST = re.compile(r"[/\\]{2}")  # of another host, to which some systems send passwords
# Texts, and where weights are, which have no other place: weights are data, and have to have the hash that is told.
_TEXTS = re.compile(
    r"name|description|sample\.(prompts\.\d+|negative_prompt|opening|ending)|(train|evaluate|launch)\..*"
)
_WEIGHTS = re.compile(
    r"weights|fast|stages\.\d+|loras\.\d+\.path|adapters\.\d+\.(path|encoder)|"
    r"(data|codec|conditioner|backbone|cascade|guide|shrunk)\..*"
)


def told_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, with the user's overrides.

    What watches, signs and logs is the user's: `safety`, `provenance` and `watermark` of the file are left out.
    MultigenError where it reads files of this machine that are no weights, and no override says others.
    """
    told = parse_recipe(text, where)
    told = dataclasses.replace(told, safety=Safety(), provenance=Provenance(), watermark="auto")
    recipe = override_recipe(told, overrides) if overrides else told
    theirs, now = dict(_paths("", to_data(told))), dict(_paths("", to_data(recipe)))
    if left := [f"{key}: {value[:80]!r}" for key, value in now.items() if theirs.get(key) == value]:
        raise MultigenError(
            f"{where}: it reads files of this machine: {', '.join(left[:8])}. Allowed: paths in this folder; set "
            "others yourself, behind the file"
        )
    return recipe


def check_request(text: str, where: str, recipe: str) -> None:
    """MultigenError for a request with more than what such a file says: it may name no files, and no overrides."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return  # who reads it tells what is wrong
    if not isinstance(data, dict):
        raise MultigenError(f"{where}: {text[:80]!r} is no request; allowed: an object of JSON")
    known = {*FIELDS, *(option.name for option in declared_options(recipe))}
    for key in data:
        if key not in known:
            raise MultigenError(message(f"{where}: {key[:80]}", key[:80], sorted(known)))


def _paths(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Dotted keys and values of what names a file outside of the folder where one stands."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _paths(f"{key}.{name}" if key else str(name), one)
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            yield from _paths(f"{key}.{place}", one)
    elif isinstance(value, str) and _outside(key, value):
        yield key, value


def _outside(key: str, value: str) -> bool:
    """Whether a value at a dotted key names such a file."""
    if _TEXTS.fullmatch(key) or not _OUTSIDE.match(value):
        return False
    return _HOST.match(value) is not None or not _WEIGHTS.fullmatch(key)
