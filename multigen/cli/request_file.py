"""Requests as text: a prompt, or a line of JSON that says more."""

from __future__ import annotations

import json
import typing
from typing import Any

from multigen import registry
from multigen.errors import MultigenError, message
from multigen.generation.request import Wish
from multigen.runs.edit_options import EditText


def wish(text: str, where: str) -> Wish:
    """A line as a request: JSON where it begins with a brace, a prompt otherwise.

    `{"prompt": "red apple", "seed": 3, "steps": 20, "overrides": ["sampler.name=ddim"]}`; the keys are the fields of
    `Wish` and, for one that is made from the medium `"input": "apple.png"`, of `EditText`. MultigenError names the
    place, an unknown key and the nearest, a value of another type.
    """
    if not text.startswith("{"):
        return Wish(text)
    try:
        data = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MultigenError(f"{where}: not JSON ({error})") from None
    own, edits = typing.get_type_hints(Wish), typing.get_type_hints(EditText)
    del own["edit"]
    for key in data:
        if key not in own and key not in edits:
            raise MultigenError(message(f"{where}: {key}", key, sorted({**own, **edits})))
    asked, edit = _typed(data, own, where), _typed(data, edits, where)
    if edit and "input" not in edit:
        raise MultigenError(f"{where}: {next(iter(edit))}: it goes with input, the file of a medium")
    try:
        return Wish(**asked, edit=EditText(**edit) if edit else None)
    except MultigenError as error:
        raise MultigenError(f"{where}: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's keys and values; ValueError for a key that comes twice, of which JSON would keep the last."""
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{twice[0]!r} comes twice")
    return dict(pairs)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _typed(data: dict[str, Any], hints: dict[str, Any], where: str) -> dict[str, Any]:
    return {k: registry.convert(hints[k], v, f"{where}: {k}") for k, v in data.items() if k in hints}
