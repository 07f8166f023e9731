"""What `multigen parts` prints: every registered part with its arguments, their defaults and what it is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from multigen import registry
from multigen.errors import MultigenError, message
from multigen.registry import KINDS


def parts(kind: str | None = None) -> Iterator[str]:
    """Lines of text, kind by kind; MultigenError for an unknown kind."""
    if kind is not None and kind not in KINDS:
        raise MultigenError(message("kind", kind, KINDS))
    for each in KINDS if kind is None else (kind,):
        names = registry.names(each)
        if not names:
            if kind is not None:
                yield f"{each}: no part is registered"
            continue
        yield each
        for name in names:
            yield from _part(each, name)
        yield ""


def _part(kind: str, name: str) -> Iterator[str]:
    try:
        factory = registry.find(kind, name)
        arguments = registry.arguments(kind, name)
    except MultigenError as error:
        yield f"  {name}: cannot be loaded here ({error})"
        return
    text = inspect.getdoc(factory) or ""
    yield f"  {name}: {text.splitlines()[0]}" if text else f"  {name}"
    for argument in arguments:
        default = "required" if argument.required else f"= {shown(argument.default)}"
        yield f"      {argument.name}: {registry.describe(argument.annotation)} {default}"


def shown(value: Any) -> str:
    """A default as a recipe writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(shown(v) for v in value)}]"
    return repr(value) if value == "" else str(value)
