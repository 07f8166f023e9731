"""Options of the command line from what requests, edits and parts declare."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable
from typing import Any

from multigen.cli.arguments import Parser, number, size, whole
from multigen.errors import MultigenError
from multigen.options import Option

_READERS: dict[Any, Callable[[str], Any]] = {
    int: whole,
    float: number,
    int | tuple[int, int]: size,
}


def add_options(parser: Parser, options: Iterable[Option]) -> None:
    """One argument for each option; its value is None (False for a switch) where it is not given."""
    for option in options:
        if option.type is bool:
            parser.add_argument(option.flag, action="store_true", help=option.help)
        else:
            parser.add_argument(
                option.flag,
                type=_reader(option),
                metavar=option.metavar or "X",
                help=option.help,
                choices=option.choices or None,
            )


def given(arguments: argparse.Namespace, names: Collection[str]) -> dict[str, Any]:
    """The values of those options that the command line gives."""
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def _reader(option: Option) -> Callable[[str], Any]:
    read = _READERS.get(option.type, str)

    def checked(text: str) -> Any:
        try:
            return option.check(read(text))
        except MultigenError as error:
            raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None

    return checked
