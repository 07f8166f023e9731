"""From plain data to a frozen `Recipe`: every key, type, range and part is checked; nothing is built.

Messages give the file and line, the dotted key, what was given, what is allowed and the nearest match.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from multigen import registry
from multigen.errors import RecipeError, message
from multigen.recipe.composed import Composed
from multigen.recipe.guards import Groups, Novelty
from multigen.recipe.paths import expanded
from multigen.recipe.places import LISTS, PLACES, SHORT
from multigen.recipe.rules import RULES, check_relations
from multigen.recipe.schema import (
    Distill,
    Drop,
    Evaluate,
    Launch,
    Polish,
    PostHoc,
    Prior,
    Provenance,
    Recipe,
    Replay,
    Sample,
    Train,
    WeightedAdapter,
    WeightedLora,
)
from multigen.recipe.sections import Safety
from multigen.registry import Part

UNSET = "???"  # OmegaConf's mark for a value that must be given
SECTIONS: Mapping[str, type] = {
    "train": Train,
    "train.post_hoc": PostHoc,
    "train.drop": Drop,
    "train.prior": Prior,
    "train.replay": Replay,
    "train.distill": Distill,
    "sample": Sample,
    "sample.polish": Polish,
    "sample.novelty": Novelty,
    "safety": Safety,
    "evaluate": Evaluate,
    "evaluate.groups": Groups,
    "launch": Launch,
    "provenance": Provenance,
}
# Lists of sections: the class of an entry, and the key that an entry written as plain text sets.
ROWS: Mapping[str, tuple[type, str]] = {
    "loras": (WeightedLora, "path"),
    "adapters": (WeightedAdapter, "path"),
}


@dataclass(frozen=True)
class Draft:
    """A recipe that is checked as far as it is known without importing the code of its parts, and torch with it.

    Missing are the parts of installed packages. So most mistakes are refused in a fraction of a second.
    """

    recipe: Recipe
    composed: Composed

    def checked(self) -> Recipe:
        """The recipe, every part's arguments checked. RecipeError for the first wrong one."""
        _check_parts(self.recipe, self.composed, registry.check)
        return self.recipe


def draft(composed: Composed) -> Draft:
    """Check plain data, as far as that imports no part. RecipeError for the first mistake."""
    recipe = _section(Recipe, composed.data, "", composed)
    for place, (allowed, holds) in RULES.items():
        value = _value(recipe, place)
        if value is not None and not all(holds(v) for v in (value if isinstance(value, tuple) else (value,))):
            raise composed.error(f"{place}: {_plain(value)!r} is not allowed. Allowed: {allowed}.", place)
    check_relations(recipe, composed)
    _check_parts(recipe, composed, registry.check_written)
    return Draft(expanded(recipe), composed)


def to_recipe(composed: Composed) -> Recipe:
    """Check plain data, and return it as a recipe. RecipeError for the first mistake."""
    return draft(composed).checked()


def _check_parts(recipe: Recipe, composed: Composed, check: Callable[[str, Part, str], object]) -> None:
    """Check the arguments of every part."""
    parts = [(kind, place, _value(recipe, place)) for place, kind in PLACES.items()]
    for place, kind in LISTS.items():
        parts += [(kind, f"{place}.{k}", part) for k, part in enumerate(_value(recipe, place))]
    for kind, place, part in parts:
        try:
            if part is not None:
                check(kind, part, place)
        except RecipeError as error:
            raise composed.error(str(error)) from None


def _section(cls: type, data: Any, place: str, composed: Composed) -> Any:
    """Build `cls` from a mapping at `place`."""
    if not isinstance(data, dict):
        allowed = ", ".join(f.name for f in dataclasses.fields(cls))
        raise composed.error(
            f"{place}: {data!r} is not allowed. Allowed: a mapping with the keys {allowed}.", place
        )
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise composed.error(message(_join(place, key), key, fields), _join(place, key))
    for name, field in fields.items():
        if name not in data and field.default is field.default_factory is dataclasses.MISSING:
            kind = "part" if _join(place, name) in PLACES else "value"
            raise composed.error(f"{_join(place, name)}: missing. Every recipe needs this {kind}.", place)
    hints = typing.get_type_hints(cls)
    return cls(**{k: _field(fields[k], hints[k], v, _join(place, k), composed) for k, v in data.items()})


def _field(field: dataclasses.Field[Any], hint: Any, value: Any, place: str, composed: Composed) -> Any:
    _refuse_unset(value, place, composed)
    if place in LISTS:
        return _parts(LISTS[place], value, place, composed)
    if place in PLACES and value is None and field.default is None:
        return None
    if place in PLACES:
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else None
        return _part(PLACES[place], value, place, default, composed)
    if place in ROWS:
        return _rows(*ROWS[place], value, place, composed)
    if place in SECTIONS and value is None and field.default is None:
        return None
    if place in SECTIONS:
        return _section(SECTIONS[place], value, place, composed)
    try:
        return registry.convert(hint, value, place)
    except RecipeError as error:
        raise composed.error(str(error), place) from None


def _rows(cls: type, short: str, value: Any, place: str, composed: Composed) -> tuple[Any, ...]:
    """Build a list of sections, each a mapping or the text of its first key."""
    if not isinstance(value, list):
        raise composed.error(
            f"{place}: {value!r} is not allowed. Allowed: a list of {{{short}: ..., ...}}.", place
        )
    rows = [{short: one} if isinstance(one, str) else one for one in value]
    return tuple(_section(cls, one, f"{place}.{k}", composed) for k, one in enumerate(rows))


def _parts(kind: str, value: Any, place: str, composed: Composed) -> tuple[Part, ...]:
    """Build a list of parts, each a name or a mapping, none of them twice."""
    if not isinstance(value, list):
        raise composed.error(f"{place}: {value!r} is not allowed. Allowed: a list of {kind}s.", place)
    found: list[Part] = []
    for number, one in enumerate(value):
        where = f"{place}.{number}"
        part = _part(kind, {"name": one} if isinstance(one, str) else one, where, None, composed)
        if part in found:
            raise composed.error(f"{where}: {part.name} is listed twice with the same arguments.", place)
        found.append(part)
    return tuple(found)


def _part(kind: str, value: Any, place: str, default: Part | None, composed: Composed) -> Part:
    names = registry.names(kind)
    if place in SHORT and isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        hint = f" Did you mean {place}.name={value}?" if value in names else ""
        raise composed.error(
            f"{place}: {value!r} is not allowed. A part is written {{name: ..., its arguments}}.{hint}", place
        )
    name = value.get("name", default.name if default else None)
    if name is None:
        raise composed.error(f"{place}.name: missing. Allowed: {', '.join(names)}.", f"{place}.name")
    if name not in names:
        raise composed.error(message(f"{place}.name", name, names), f"{place}.name")
    return Part(name, {k: v for k, v in value.items() if k != "name"})


def _refuse_unset(value: Any, place: str, composed: Composed) -> None:
    if value == UNSET:
        raise composed.error(
            f"{place}: not set yet. Give it as {place}=VALUE, or set it in the recipe.", place
        )
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        _refuse_unset(child, f"{place}.{key}", composed)


def _value(recipe: Recipe, place: str) -> Any:
    value: Any = recipe
    for key in place.split("."):
        value = None if value is None else getattr(value, key)
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
