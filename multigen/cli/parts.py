"""`multigen parts`: every registered part with its arguments, their defaults and its summary."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from multigen.cli.arguments import Command, Parser, new_parser
from multigen.errors import MultigenError, message


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("parts", "List the parts that a recipe can name, with their arguments and defaults.")
    parser.add_argument(
        "kind", nargs="?", metavar="KIND", help="only this kind: sampler, schedule, dataset, ..."
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    for line in parts(parser().parse(argv).kind):
        print(line)
    return 0


def parts(kind: str | None = None) -> Iterator[str]:
    """Lines of text, kind by kind; MultigenError for an unknown kind."""
    from multigen import registry

    if kind is not None and kind not in registry.KINDS:
        raise MultigenError(message("kind", kind, registry.KINDS))
    for each in registry.KINDS if kind is None else (kind,):
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
    from multigen import registry

    try:
        factory = registry.lookup(kind, name)
        arguments = registry.arguments(kind, name)
    except MultigenError as error:
        yield f"  {name}: cannot be loaded ({error})"
        return
    text = inspect.cleandoc(factory.__doc__ or "")  # its own: a base class's would be of another part
    yield f"  {name}: {text.splitlines()[0]}" if text else f"  {name}"
    for argument in arguments:
        default = "required" if argument.required else f"= {recipe_text(argument.default)}"
        yield f"      {argument.name}: {registry.describe(argument.annotation)} {default}"


def recipe_text(value: Any) -> str:
    """A value as a recipe writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(recipe_text(v) for v in value)}]"
    return repr(value) if value == "" else str(value)


COMMAND = Command(
    "parts", "[KIND]", "list the parts that a recipe can name, with their arguments", parser, run
)
