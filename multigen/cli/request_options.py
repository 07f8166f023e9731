"""Options of the command line from what requests, edits and modalities declare (`multigen.options`)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from multigen.cli.arguments import Parser, number, size, whole
from multigen.errors import MultigenError
from multigen.options import Option

_READERS: dict[Any, Callable[[str], Any]] = {
    int: whole,
    float: number,
    int | tuple[int, int]: size,
}
IMAGES = "images"  # the pictures of a request
_HELP = ("-h", "--help")
# Declares the options of a source, such as `multigen.runs.checks.request_options`.
Declared = Callable[[str], Sequence[Option]]


def add_options(parser: argparse._ActionsContainer, options: Iterable[Option]) -> None:
    """Add an argument for each option. Its value is None (False for a switch) where it is not given."""
    for option in options:
        shown = f"{option.help}{_default(option)}".replace("%", "%%")
        if option.type is bool:
            parser.add_argument(option.flag, action="store_true", help=shown)
        else:
            parser.add_argument(
                option.flag,
                type=_reader(option),
                metavar=option.metavar or (None if option.choices else "X"),
                help=shown,
                choices=option.choices or None,
            )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the option for the pictures of a request, once for each of the model's adapters."""
    parser.add_argument(
        "--image",
        action="append",
        dest=IMAGES,
        metavar="PICTURE",
        help="a picture for the model's first adapter, the next for its second ...: an image prompt, edges, a pose",
    )


def given(arguments: argparse.Namespace, names: Collection[str]) -> dict[str, Any]:
    """The values of those options that the command line gives."""
    values = {name: vars(arguments)[name] for name in names}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def parse(
    parser: Parser, argv: Sequence[str], declared: Declared
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The arguments of a command with a SOURCE, and values of the options that its modality declares, by name.

    The modality is looked at only for an option that the parser does not know, or for the help, which then lists them.
    """
    options: Sequence[Option] = ()
    place = _unknown(parser, argv)
    source = None if place is None else _source(parser, argv[:place])
    if place is not None and source is not None:
        try:
            options = declared(source)
        except MultigenError:
            if argv[place] not in _HELP:
                raise
    if options:
        add_options(parser.add_argument_group("options of the model"), options)
    arguments = parser.parse(argv)
    return arguments, given(arguments, [option.name for option in options])


def _unknown(parser: Parser, argv: Sequence[str]) -> int | None:
    """The place of the first option that the parser does not know, or of a call for help."""
    known = parser.flags
    for place, text in enumerate(argv):
        if text in _HELP or (text.startswith("--") and text.partition("=")[0] not in known):
            return place
    return None


def _source(parser: Parser, argv: Sequence[str]) -> str | None:
    """The first argument that is no option and no value of one."""
    rest = iter(argv)
    for text in rest:
        if not text.startswith("-"):
            return text
        action = parser.flags.get(text)  # None: its value is attached, as in --seed=3 and -n4
        if action is not None and action.nargs != 0:
            next(rest, None)
    return None


def _default(option: Option) -> str:
    return "" if option.default in (None, "", False) else f" (default: {option.default})"


def _reader(option: Option) -> Callable[[str], Any]:
    read = (lambda text: _medium(option, text)) if option.media else _READERS.get(option.type, str)

    def checked(text: str) -> Any:
        try:
            return option.check(read(text))
        except MultigenError as error:
            text = str(error)
            raise argparse.ArgumentTypeError(text if option.media else text.partition(": ")[2]) from None

    return checked


def _medium(option: Option, text: str) -> str:
    """The path of a medium that is there. MultigenError for one that is not, or that another modality reads."""
    from multigen.runs.checks import check_medium

    return check_medium(option, text)
