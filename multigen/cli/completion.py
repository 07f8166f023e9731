"""`multigen completion`: a script that completes commands, options, recipes, override keys and parts.

All words come from the commands' parsers, the recipe's dataclasses and the registry. They are written into the script
when it is made, so that completing costs nothing: make it again after installing plug-ins.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from multigen.cli.arguments import DEVICES, Command, Parser, new_parser
from multigen.cli.completion_scripts import SHELLS, Flag, Positional, Words
from multigen.errors import MultigenError

# What stands for a file or folder in a usage line.
_FILES = frozenset({"RECIPE", "SOURCE", "FILE", "DIR", "OUT", "PICTURE"})
_KEYS = "key=value"
DESCRIPTION = """\
Print a completion script for a shell.

  eval "$(multigen completion bash)"
  eval "$(multigen completion zsh)"
  multigen completion fish | source
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("completion", DESCRIPTION)
    parser.add_argument("shell", choices=list(SHELLS), metavar="SHELL", help="bash, zsh or fish")
    return parser


def command(commands: Callable[[], Mapping[str, Command]]) -> Command:
    """The command; `commands` gives those that it completes."""

    def run(argv: Sequence[str]) -> int:
        print(script(parser().parse(argv).shell, commands()), end="")
        return 0

    return Command("completion", "SHELL", "print a completion script for bash, zsh or fish", parser, run)


def script(shell: str, commands: Mapping[str, Command]) -> str:
    """The script for a shell, one of `SHELLS`."""
    found = {name: words(c.parser(), c.summary) for name, c in commands.items()}
    return SHELLS[shell](found, override_keys())


# --- from the parsers --------------------------------------------------------------------------------------------


def words(parser: Parser, summary: str = "") -> Words:
    """What a command's parser takes."""
    flags, positionals = [], []
    for action in parser.actions:
        if action.option_strings:
            flags.append(_flag(action))
        else:
            positionals.append(_positional(action))
    return Words(summary, tuple(flags), tuple(positionals))


def _flag(action: argparse.Action) -> Flag:
    files, help_text = action.metavar in _FILES, (action.help or "").replace("%%", "%")
    return Flag(tuple(action.option_strings), action.nargs != 0, _words(action), files, help_text)


def _positional(action: argparse.Action) -> Positional:
    return Positional(_words(action), action.metavar in _FILES, action.metavar == _KEYS)


def _words(action: argparse.Action) -> tuple[str, ...]:
    """The words that an argument may be: its choices, or what its name in a usage line stands for."""
    from multigen import registry
    from multigen.recipe.source import shipped

    if action.choices is not None:
        return tuple(map(str, action.choices))
    known = {"RECIPE": shipped, "SOURCE": shipped, "KIND": lambda: registry.KINDS, "DEVICE": lambda: DEVICES,
             "OPERATOR": lambda: registry.names("operator")}  # fmt: skip
    return tuple(known[str(action.metavar)]()) if action.metavar in known else ()


# --- from the recipe and its parts -------------------------------------------------------------------------------


def override_keys() -> list[str]:
    """Every `key=` of a recipe, `key=choice` where a key has choices, and the same of every registered part."""
    from multigen import registry
    from multigen.recipe.places import LISTS, PLACES
    from multigen.recipe.schema import Recipe

    keys = [key for key in _fields(Recipe, "") if key.rstrip("=") not in {*PLACES, *LISTS}]
    for place, kind in PLACES.items():
        keys += [f"{place}.name={name}" for name in registry.names(kind)]
        keys += dict.fromkeys(_arguments(kind, place))
    for place, kind in LISTS.items():
        keys += [f"{place}=[{name}]" for name in registry.names(kind)]
    return keys


def _fields(section: type, prefix: str) -> Iterator[str]:
    """The keys of a dataclass and of those in it."""
    hints = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        inner = _section(hints[field.name])
        if inner is None:
            yield from _key(f"{prefix}{field.name}", hints[field.name])
        else:
            yield from _fields(inner, f"{prefix}{field.name}.")


def _section(hint: Any) -> type | None:
    """The dataclass that a field holds; None for a value or a part."""
    from multigen.registry import Part

    return hint if dataclasses.is_dataclass(hint) and hint is not Part and isinstance(hint, type) else None


def _arguments(kind: str, place: str) -> Iterator[str]:
    from multigen import registry

    for name in registry.names(kind):
        try:
            arguments = registry.arguments(kind, name)
        except MultigenError:  # a part whose packages are missing offers no arguments
            continue
        for argument in arguments:
            yield from _key(f"{place}.{argument.name}", argument.annotation)


def _key(key: str, hint: Any) -> Iterator[str]:
    yield f"{key}="
    yield from (f"{key}={choice}" for choice in choices(hint))


def choices(hint: Any) -> list[str]:
    """The values of a type that has few: those of a Literal, true and false, or of any member of a union."""
    if hint is bool:
        return ["true", "false"]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return [str(value) for value in inner]
    if origin in (typing.Union, types.UnionType):
        return [choice for member in inner for choice in choices(member)]
    return []
