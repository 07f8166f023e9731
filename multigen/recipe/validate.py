"""From plain data to a frozen `Recipe`: every key, type, range and part is checked, and nothing is built.

Messages carry the file and line, the dotted place, what was given, what is allowed and what is nearest.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from multigen import registry
from multigen.errors import RecipeError, message
from multigen.recipe.compose import LISTS, PLACES, Composed
from multigen.recipe.schema import (
    Drop,
    Evaluate,
    Launch,
    Polish,
    PostHoc,
    Recipe,
    Sample,
    Train,
    WeightedLora,
)
from multigen.registry import Part

UNSET = "???"  # OmegaConf's mark for a value that the user must give
SECTIONS: Mapping[str, type] = {
    "train": Train,
    "train.post_hoc": PostHoc,
    "train.drop": Drop,
    "sample": Sample,
    "sample.polish": Polish,
    "evaluate": Evaluate,
    "launch": Launch,
}
# Where lists of sections stand, and the key that a bare text in them means.
ROWS: Mapping[str, tuple[type, str]] = {"loras": (WeightedLora, "path")}


def to_recipe(composed: Composed) -> Recipe:
    """The recipe; RecipeError for the first thing wrong in it."""
    recipe = _section(Recipe, composed.data, "", composed)
    for place, (allowed, holds) in RULES.items():
        value = _value(recipe, place)
        if value is not None and not all(holds(v) for v in (value if isinstance(value, tuple) else (value,))):
            raise composed.error(f"{place}: {_plain(value)!r} is not allowed. Allowed: {allowed}.", place)
    _relations(recipe, composed)
    return recipe


def _section(cls: type, data: Any, place: str, composed: Composed) -> Any:
    """`cls` from a mapping at `place`."""
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
    if place in SECTIONS:
        return _section(SECTIONS[place], value, place, composed)
    try:
        return registry.convert(hint, value, place)
    except RecipeError as error:
        raise composed.error(str(error), place) from None


def _rows(cls: type, short: str, value: Any, place: str, composed: Composed) -> tuple[Any, ...]:
    """A list of sections, each a mapping or the text of its first key."""
    if not isinstance(value, list):
        raise composed.error(
            f"{place}: {value!r} is not allowed. Allowed: a list of {{{short}: ..., ...}}.", place
        )
    rows = [{short: one} if isinstance(one, str) else one for one in value]
    return tuple(_section(cls, one, f"{place}.{k}", composed) for k, one in enumerate(rows))


def _parts(kind: str, value: Any, place: str, composed: Composed) -> tuple[Part, ...]:
    """A list of parts, each a name or a mapping, none of them twice."""
    if not isinstance(value, list):
        raise composed.error(f"{place}: {value!r} is not allowed. Allowed: a list of {kind}s.", place)
    found: list[Part] = []
    for number, one in enumerate(value):
        where = f"{place}.{number}"
        part = _part(kind, {"name": one} if isinstance(one, str) else one, where, None, composed)
        if part in found:
            raise composed.error(f"{where}: {part.name} stands there twice with the same arguments.", place)
        found.append(part)
    return tuple(found)


def _part(kind: str, value: Any, place: str, default: Part | None, composed: Composed) -> Part:
    names = registry.names(kind)
    if not isinstance(value, dict):
        hint = f" Did you mean {place}.name={value}?" if value in names else ""
        raise composed.error(
            f"{place}: {value!r} is not allowed. A part is written {{name: ..., its arguments}}.{hint}", place
        )
    name = value.get("name", default.name if default else None)
    if name is None:
        raise composed.error(f"{place}.name: missing. Allowed: {', '.join(names)}.", f"{place}.name")
    if not isinstance(name, str):
        raise composed.error(message(f"{place}.name", name, names), f"{place}.name")
    part = Part(name, {k: v for k, v in value.items() if k != "name"})
    try:
        registry.check(kind, part, place)
    except RecipeError as error:
        raise composed.error(str(error)) from None
    return part


def _refuse_unset(value: Any, place: str, composed: Composed) -> None:
    if value == UNSET:
        raise composed.error(
            f"{place}: not set yet. Give it as {place}=VALUE, or write it in the recipe.", place
        )
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        _refuse_unset(child, f"{place}.{key}", composed)


# --- ranges and relations ---------------------------------------------------------------------------------------

_Rule = tuple[str, Callable[[Any], bool]]
_positive: _Rule = ("a number above 0", lambda v: v > 0)
_count: _Rule = ("a whole number, at least 1", lambda v: v >= 1)
_from_0: _Rule = ("a number, 0 or more", lambda v: v >= 0)
_share: _Rule = ("a number from 0 to 1", lambda v: 0 <= v <= 1)
_below_1: _Rule = ("a number from 0 to below 1", lambda v: 0 <= v < 1)

RULES: Mapping[str, _Rule] = {
    # The name becomes a folder: a stranger's recipe must not choose another place to write to.
    "name": (
        "a folder name of letters, digits, '_', '-' and '.', the first one a letter or digit",
        lambda v: bool(re.fullmatch(r"[^\W_][\w.-]{0,99}", v)),
    ),
    "seed": ("a whole number from 0 to 2^62 - 1", lambda v: 0 <= v < 2**62),
    "train.steps": _count,
    "train.minutes": _positive,
    "train.batch": ("a whole number from 1 to 65536", lambda v: 1 <= v <= 65536),
    "train.accumulate": _count,
    "train.lr": _positive,
    "train.warmup": _from_0,
    "train.weight_decay": _from_0,
    "train.betas": _below_1,
    "train.grad_clip": _positive,
    "train.ema_decay": _below_1,
    "train.post_hoc.every": _from_0,
    "train.post_hoc.sigmas": ("sigma_rel from 0.001 to below 0.2887", lambda v: 0.001 <= v < 12**-0.5),
    "train.post_hoc.keep": _from_0,
    "train.cond_dropout": _share,
    "train.drop.vector": _share,
    "train.drop.tokens": _share,
    "train.drop.grid": _share,
    "train.huber": ("a number from 0.001 to 100", lambda v: 0.001 <= v <= 100),
    "train.offset_noise": ("a number from 0 to 1", lambda v: 0 <= v <= 1),
    "train.sizes": (
        "a list of sides or [height, width], each at least 1 pixel",
        lambda v: min(v if isinstance(v, tuple) else (v,)) >= 1,
    ),
    "train.durations": _positive,
    "train.workers": _from_0,
    "train.checkpoint_every": _count,
    "train.keep": _count,
    "train.log_every": _count,
    "train.held_out_every": _from_0,
    "train.patience": _from_0,
    "train.preview_every": _from_0,
    "train.bad_media": _share,
    "train.cache": ("a number of GiB from 0 to 1e6", lambda v: 0 <= v <= 1e6),
    "launch.nproc": ("a whole number from 1 to 1024", lambda v: 1 <= v <= 1024),
    "launch.port": ("a whole number from 1 to 65535", lambda v: 1 <= v <= 65535),
    "launch.restarts": _from_0,
    "sample.n": _count,
    "sample.steps": _count,
    "sample.polish.passes": _from_0,
    "sample.polish.noise": ("a number from 0.001 to 1", lambda v: 0.001 <= v <= 1),
    "sample.size": _count,
    "sample.duration": _positive,
    "sample.batch": _count,
    "evaluate.n": ("a whole number, at least 8", lambda v: v >= 8),
    "evaluate.new": ("a whole number, at least 8", lambda v: v >= 8),
    "evaluate.bank": ("a whole number, at least 8", lambda v: v >= 8),
    "sample.suffix": ("a file suffix such as .png", lambda v: bool(re.fullmatch(r"\.[a-z0-9]{1,8}", v))),
}


def _relations(recipe: Recipe, composed: Composed) -> None:
    train = recipe.train
    if train.steps is None and train.minutes is None:
        raise composed.error(
            "train: neither steps nor minutes is set. Set train.steps, train.minutes or both."
        )
    if train.batch % train.accumulate:
        raise composed.error(
            f"train.accumulate: {train.accumulate} is not allowed. Allowed: a divisor of train.batch, {train.batch}."
        )
    if train.patience and not train.held_out_every:
        raise composed.error(
            "train.patience: it counts held-out losses, and train.held_out_every=0 measures none. Set both."
        )
    if train.post_hoc.every and not train.post_hoc.sigmas:
        raise composed.error("train.post_hoc.sigmas: [] is not allowed. Allowed: one sigma_rel or more.")
    if recipe.launch.name == "none" and recipe.launch.nproc != 1:
        raise composed.error(f"launch.nproc: {recipe.launch.nproc} is not allowed without launch=torchrun.")
    try:
        check_world(train, recipe.launch.nproc, "launch.nproc")
    except RecipeError as error:
        raise composed.error(str(error), "launch.nproc") from None
    if not recipe.sample.prompts:
        raise composed.error(
            "sample.prompts: [] is not allowed. Allowed: at least one prompt; '' means none."
        )


def check_world(train: Train, size: int, place: str) -> None:
    """RecipeError if `size` ranks cannot share each accumulated part of a batch evenly."""
    part = train.batch // train.accumulate
    if part % size:
        allowed = ", ".join(str(n) for n in range(1, part + 1) if part % n == 0)
        of = "train.batch" if train.accumulate == 1 else "train.batch / train.accumulate"
        raise RecipeError(f"{place}: {size} is not allowed. Allowed: a divisor of {of}, {part}: {allowed}.")


def _value(recipe: Recipe, place: str) -> Any:
    value: Any = recipe
    for key in place.split("."):
        value = getattr(value, key)
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
