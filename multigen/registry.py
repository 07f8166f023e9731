"""The registry of parts: `build(kind, part)` is the only way from a recipe to code.

Built-in parts are listed in `multigen.parts` and imported when they are first used. Installed plug-ins provide entry
points of the group `multigen.<kind>`. Scripts and notebooks use `@register(kind, name)`.

A part is a class or function whose keyword-only parameters are its arguments in a recipe. The code that builds the part
supplies the parameters annotated `Given[T]`; a recipe cannot. Kinds in `APPLIED` are functions that are called later
with positional arguments: `build` returns them with their recipe arguments bound.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from multigen.errors import RecipeError, errors_at, message
from multigen.parts import BUILTIN
from multigen.signatures import UNKNOWN, written

T = TypeVar("T")
_GIVEN = "given by the builder"
Given = Annotated[T, _GIVEN]

KINDS = (
    "backbone", "schedule", "prediction", "timesteps", "sampler", "guide", "modifier", "conditioner", "codec",
    "modality", "dataset", "noise_level", "objective", "reconstruction", "critic", "adapter", "distillation", "feature",
    "metric", "operator", "family", "cascade", "cache", "filter", "extractor",
)  # fmt: skip
# Kinds of functions that take positional arguments when they are used.
APPLIED = frozenset({"timesteps", "sampler", "guide", "modifier", "noise_level", "objective"})


@dataclass(frozen=True)
class Part:
    """A part of a recipe.

    name  of the part, among those of its kind
    args  its arguments, as plain data
    """

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Argument:
    """An argument of a part.

    name        in a recipe
    annotation  its type
    default     its value if a recipe does not give one; `inspect.Parameter.empty` for a required argument
    """

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether a recipe must give it."""
        return self.default is inspect.Parameter.empty


_registered: dict[tuple[str, str], Any] = {}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Decorator: register a part, as in `@register("backbone", "mine")`. It replaces an earlier one of that name."""
    _check_kind(kind)

    def keep(factory: T) -> T:
        _registered[kind, name] = factory
        return factory

    return keep


def names(kind: str) -> list[str]:
    """List the known names of a kind, sorted."""
    _check_kind(kind)
    mine = {n for k, n in _registered if k == kind}
    return sorted(mine | set(BUILTIN.get(kind, {})) | {e.name for e in _entry_points(kind)})


def lookup(kind: str, name: str, where: str = "") -> Any:
    """Return the class or function of a name. RecipeError with the nearest match if there is none."""
    _check_kind(kind)
    if (kind, name) in _registered:
        return _registered[kind, name]
    if name in BUILTIN.get(kind, {}):
        module, _, attribute = BUILTIN[kind][name].partition(":")
        with _packages(kind, name, where):
            return getattr(importlib.import_module(module), attribute)
    for entry in _entry_points(kind):
        if entry.name == name:
            with _packages(kind, name, where):
                return entry.load()
    raise RecipeError(message(f"{where or kind}.name", name, names(kind)))


@contextmanager
def _packages(kind: str, name: str, where: str) -> Iterator[None]:
    """Turn a missing package into a RecipeError. A missing module of multigen itself is a bug and stays as it is."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "multigen":
            raise
        raise RecipeError(
            f"{where or kind}.name: {kind} {name} needs the package {package}, which is not installed. "
            "`multigen doctor` names the extra that installs it."
        ) from error


def arguments(kind: str, name: str, where: str = "") -> list[Argument]:
    """List the recipe arguments of a part, in order."""
    return [a for a, given in _parameters(lookup(kind, name, where)) if not given]


def check(kind: str, part: Part, where: str = "") -> dict[str, Any]:
    """Validate a part's arguments and convert them to their annotated types, without building it.

    RecipeError names a wrong argument, `where` being its place in the recipe.
    """
    return _checked(kind, part, where or kind, arguments(kind, part.name, where))


def check_written(kind: str, part: Part, where: str = "") -> None:
    """As `check`, as far as the arguments of a part are known without importing it; what is not known passes."""
    known = written(BUILTIN.get(kind, {}).get(part.name, ""))
    if (kind, part.name) in _registered:
        _checked(kind, part, where or kind, arguments(kind, part.name, where))
    elif known is not None:
        empty = inspect.Parameter.empty
        listed = [Argument(a.name, a.annotation, empty if a.required else None) for a in known]
        _checked(kind, part, where or kind, listed)


def _checked(kind: str, part: Part, where: str, listed: Sequence[Argument]) -> dict[str, Any]:
    known = {a.name: a for a in listed}
    for key in part.args:
        if key not in known:
            hint = f"It is not an argument of {kind} {part.name}."
            raise RecipeError(message(f"{where}.{key}", key, ["name", *known], hint))
    for argument in known.values():
        if argument.required and argument.name not in part.args:
            raise RecipeError(f"{where}.{argument.name}: {kind} {part.name} needs it; there is no default.")
    return {
        k: convert(known[k].annotation, v, f"{where}.{k}")
        for k, v in part.args.items()
        if known[k].annotation is not UNKNOWN
    }


def build(kind: str, part: Part, *, where: str = "", given: Mapping[str, Any] | None = None) -> Any:
    """Build a part. `given` holds values for `Given` parameters; a part gets those that it has.

    RecipeError for wrong arguments, with the place in the recipe in front.
    """
    where = where or kind
    args = check(kind, part, where)
    factory = lookup(kind, part.name, where)
    supplied = {a.name: a for a, is_given in _parameters(factory) if is_given}
    for name, argument in supplied.items():
        if given is not None and name in given:
            args[name] = given[name]
        elif argument.required:
            raise TypeError(f"{kind} {part.name} needs {name!r}, which was not given")
    if kind in APPLIED:
        return functools.partial(factory, **args) if args else factory
    with errors_at(f"{where} ({part.name})", RecipeError):
        return factory(**args)


def convert(annotation: Any, value: Any, where: str) -> Any:
    """Convert a plain value, as YAML gives it, to the annotated type. Strict: no '3' for 3, no 1 for true."""
    try:
        return _adapter(annotation).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        if choices := _choices(annotation):
            raise RecipeError(message(where, value, choices)) from None
        first = error.errors()[0]
        place = ".".join([where, *map(str, (p for p in first["loc"] if isinstance(p, int)))])
        raise RecipeError(
            f"{place}: {value!r} is not allowed. {first['msg']}. Allowed: {describe(annotation)}."
            + (f" Write a list: {where}=[{value}]" if _one_of_a_list(annotation, value) else "")
        ) from None
    except TypeError:
        raise RecipeError(f"{where}: {value!r} is not plain data. Allowed: {describe(annotation)}.") from None


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a type that allows some alone, and perhaps null; () for others."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return args
    rest = [one for one in args if one is not type(None)]
    return _choices(rest[0]) if origin in (typing.Union, types.UnionType) and len(rest) == 1 else ()


def _one_of_a_list(annotation: Any, value: Any) -> bool:
    """Whether a value is given where a list of such is wanted."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_one_of_a_list(one, value) for one in args)
    wanted = args[:1] if origin is list or (origin is tuple and args[1:] == (Ellipsis,)) else ()
    return type(value) in wanted


def describe(annotation: Any) -> str:
    """Describe a type for a user."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (None, type(None)):
        return "null"
    if annotation is Ellipsis:
        return "..."
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(describe, args))
    if origin is Annotated:
        return describe(args[0])
    name = getattr(origin or annotation, "__name__", str(annotation))
    return f"{name}[{', '.join(map(describe, args))}]" if args else name


@functools.lru_cache(maxsize=512)
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _parameters(factory: Any) -> list[tuple[Argument, bool]]:
    """The keyword-only parameters, and whether each is `Given`."""
    target = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(target, include_extras=True)
    out = []
    for p in inspect.signature(factory).parameters.values():
        if p.kind is not p.KEYWORD_ONLY:
            continue
        hint = hints.get(p.name, Any)
        is_given = _GIVEN in getattr(hint, "__metadata__", ())
        out.append((Argument(p.name, hint, p.default), is_given))
    return out


@functools.cache
def _entry_points(kind: str) -> tuple[metadata.EntryPoint, ...]:
    return tuple(_all_entry_points().select(group=f"multigen.{kind}"))


@functools.cache
def _all_entry_points() -> Any:  # EntryPoints from Python 3.12 on, SelectableGroups before
    """Those of every installed package, looked up once: that takes some 10 ms."""
    return metadata.entry_points()


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(message("kind", kind, KINDS))
