"""Options that a model declares beside those of every request: which there are, and their values for one request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multigen import registry
from multigen.errors import MultigenError
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request
from multigen.generation.same import is_said, same_values
from multigen.options import Option, unknown_option
from multigen.recipe.declared import builtin_options
from multigen.recipe.schema import Recipe


def options_of(recipe: Recipe) -> tuple[Option, ...]:
    """What the modality and the conditioner of a recipe declare."""
    known = builtin_options(recipe)
    if known is not None:
        return known
    modality = registry.build("modality", recipe.modality, where="modality").options
    conditioner = registry.lookup("conditioner", recipe.conditioner.name, "conditioner")
    own = conditioner.declares(recipe.conditioner.args) if isinstance(conditioner, type) else ()
    return (*modality, *own)


def media_options(recipe: Recipe) -> frozenset[str]:
    """The options of a model whose values are media, in Python also in memory."""
    return frozenset(option.name for option in options_of(recipe) if option.media)


def declared_options(parts: ModelParts, recipe: Recipe, request: Request) -> dict[str, Any]:
    """A value for each option that the model declares. MultigenError for others, and for values out of range.

    What a request leaves open comes from the recipe, for an edit as far as it goes with one.
    """
    own = parts.conditioner.declares(parts.recipe.conditioner.args)
    declared = {option.name: option for option in (*parts.modality.options, *own)}
    usual = recipe.sample.options.items()
    if request.edit is not None:
        usual = [(name, value) for name, value in usual if name not in declared or declared[name].edits]
    values = {**dict(usual), **request.options}
    for name in values:
        if name not in declared:
            raise MultigenError(unknown_option("options", name, declared, parts.recipe.name))
        if request.edit is not None and not declared[name].edits and values[name] is not None:
            raise MultigenError(
                f"{name}: it does not go with an edit, which gives back what it keeps as it was"
            )
    given = {n: _converted(declared[n], v) for n, v in values.items() if v is not None}
    edits = request.edit is not None
    defaults = {name: None if edits and option.heard else option.default for name, option in declared.items()}
    found = {name: option.check(given.get(name, defaults[name])) for name, option in declared.items()}
    for name, value in found.items():
        if value is not None and (needs := declared[name].needs) and not is_said(found.get(needs)):
            if request.options.get(name) is not None:
                raise MultigenError(f"{name}: it goes with {needs}")
            found[name] = None  # the recipe's, for requests that have one
    parts.modality.check_options(found)
    return found


class Opener:
    """The options of one request after the other, with what they name read: a file is read once while they name it."""

    def __init__(self, parts: ModelParts) -> None:
        self._parts = parts
        self._last: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None

    def __call__(
        self, recipe: Recipe, request: Request, media: tuple[int, ...] | None = None
    ) -> Mapping[str, Any]:
        """As `declared_options`. MultigenError also for a file that cannot be read.

        media  shape [C, *D] of what is made, when it is known
        """
        said = declared_options(self._parts, recipe, request)
        if self._last is None or not same_values(self._last[0], said):
            self._last = None  # what the last one named need not be kept beside it
            self._last = said, self._parts.conditioner.opened(said)
        return self._last[1] if media is None else self._parts.conditioner.opened(self._last[1], media)


def _converted(option: Option, value: Any) -> Any:
    """A value as its type has it. A medium that is no file stays as it is: the conditioner checks it."""
    if option.media and not isinstance(value, bool | int | float | list | dict):
        return value
    return registry.convert(option.type, value, option.name)
