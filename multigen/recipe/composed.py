"""A whole recipe as plain data, with the origin of each key, and its references resolved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from multigen.errors import RecipeError, message
from multigen.recipe.reader import MAX_NODES, MAX_TEXT
from multigen.recipe.safety import REFERENCE

_MAX_REFERENCES = 50  # in one chain


@dataclass(frozen=True)
class Composed:
    """A recipe as plain data.

    origins   dotted key -> "file:line" or "command line"
    shown     the recipe's name in messages
    """

    data: dict[str, Any]
    origins: dict[str, str]
    shown: str

    def error(self, text: str, place: str | None = None) -> RecipeError:
        """Make a RecipeError that begins with the file and line of a key; by default the one that begins the text."""
        keys = (text.split(":")[0] if place is None else place).split(".")
        while keys and ".".join(keys) not in self.origins:
            keys.pop()
        return RecipeError(f"{self.origins['.'.join(keys)] if keys else self.shown}: {text}")

    def resolved(self) -> Composed:
        """Replace references by the values that they name. RecipeError if that is impossible, or too large."""
        return Composed(_Resolver(self).mapping(), self.origins, self.shown)


class _Resolver:
    """Resolves `${another.key}`: to the value if it stands alone, to its text inside a text."""

    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        self.nodes = self.characters = 0

    def mapping(self) -> dict[str, Any]:
        return {key: self._value(value, key, ()) for key, value in self.composed.data.items()}

    def _value(self, value: Any, place: str, via: tuple[str, ...]) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.composed.error(f"{place}: references expand to more than {MAX_NODES:,} values.")
        if isinstance(value, dict):
            return {k: self._value(v, f"{place}.{k}", via) for k, v in value.items()}
        if isinstance(value, list):
            return [self._value(v, f"{place}.{i}", via) for i, v in enumerate(value)]
        return self._text(value, place, via) if isinstance(value, str) else value

    def _text(self, text: str, place: str, via: tuple[str, ...]) -> Any:
        self.characters += len(text)
        if self.characters > MAX_TEXT:
            raise self.composed.error(f"{place}: references expand to more than {MAX_TEXT:,} characters.")
        alone = REFERENCE.fullmatch(text)
        if alone:
            return self._look_up(alone[1], place, via)
        joined = REFERENCE.sub(lambda match: self._word(match[1], place, via), text)
        self.characters += len(joined)
        return joined

    def _word(self, path: str, place: str, via: tuple[str, ...]) -> str:
        value = self._look_up(path, place, via)
        if isinstance(value, dict | list):
            raise self.composed.error(
                f"{place}: ${{{path}}} is not a single value, so it cannot be part of a text."
            )
        return value if isinstance(value, str) else json.dumps(value)

    def _look_up(self, path: str, place: str, via: tuple[str, ...]) -> Any:
        if path in via or len(via) > _MAX_REFERENCES:
            raise self.composed.error(f"{place}: ${{{path}}} refers back to itself.")
        via = (*via, path)
        value: Any = self.composed.data
        keys = path.split(".")
        for depth, key in enumerate(keys):
            if depth and isinstance(value, str):  # another reference on the way
                value = self._text(value, place, via)
            if isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                known = value if isinstance(value, dict) else []
                parent = ".".join(keys[:depth])
                raise self.composed.error(
                    message(
                        place,
                        f"${{{path}}}",
                        [f"{parent}.{k}".lstrip(".") for k in known],
                        "${...} is the value of another key of the recipe.",
                    )
                )
        return self._value(value, path, via)
