"""What the commands' argument parsers share. Only the standard library is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from multigen.errors import MultigenError, message

SOURCE = "a run folder, a weights file or a trained recipe"
DEVICES = ("cpu", "cuda", "mps")
RECIPE = "a YAML file, a run folder or the name of a shipped recipe"


class Parser(argparse.ArgumentParser):
    """argparse whose errors are MultigenErrors that name the nearest option."""

    def error(self, message: str) -> NoReturn:
        """Raise a MultigenError in place of ending the process."""
        # In mixed order argparse counts `key=value ...` among the required, although none need be given.
        raise MultigenError(f"{message.replace(', key=value', '')}. See: {self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Options and positional arguments in any order."""
        arguments, rest = self.parse_known_intermixed_args(argv)
        if rest:
            options = [o for a in self._actions for o in a.option_strings if o.startswith("--")]
            raise MultigenError(message("option", rest[0], options))
        return arguments

    @property
    def flags(self) -> Mapping[str, argparse.Action]:
        """Every option by each of its names."""
        return {flag: action for action in self._actions for flag in action.option_strings}

    @property
    def actions(self) -> Sequence[argparse.Action]:
        """Every option and positional argument."""
        return self._actions


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    name     as it is typed
    usage    its arguments, in the overview
    summary  what it does, in the overview
    parser   makes its parser
    run      does it: from the arguments that follow its name to the exit code
    """

    name: str
    usage: str
    summary: str
    parser: Callable[[], Parser]
    run: Callable[[Sequence[str]], int]


def new_parser(name: str, description: str) -> Parser:
    """The parser of a command. Lines of the description stay as they are."""
    parser = Parser(
        prog=f"multigen {name}",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_common(parser: Parser, out: str) -> None:
    """Add what every command that runs a model takes; `out` is the help of --out."""
    parser.add_argument("--out", type=Path, metavar="DIR", help=out)
    parser.add_argument(
        "--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (default: the best available)"
    )
    parser.add_argument("--seed", type=whole, metavar="N", help="random seed; the same as seed=N")
    add_quiet(parser)


def add_quiet(parser: Parser) -> None:
    """Add what every command takes that does long work."""
    parser.add_argument("--quiet", action="store_true", help="print only the result folder")


def add_overrides(parser: Parser, examples: str) -> None:
    """Add key=value overrides, with `examples` in the help."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"overrides, such as {examples}")


def add_model(parser: Parser) -> None:
    """Add what every command takes that makes media with a trained model."""
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    add_overrides(parser, "sampler.name=heun or guide.scale=4")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="what to make; may be repeated")
    parser.add_argument("-n", type=count, metavar="N", help="media for each prompt")


def add_format(parser: Parser) -> None:
    """Add what every command takes that writes media."""
    parser.add_argument(
        "--format",
        type=lambda text: text.removeprefix(".").lower(),
        metavar="FORMAT",
        help="of the files: png, jpg, webp; wav, flac, mp3, opus; mp4, webm, gif ...",
    )


def sampling_overrides(a: argparse.Namespace) -> list[str]:
    """The overrides of the command line, those that options stand for among them."""
    return [*a.overrides, *([] if a.format is None else [f"sample.suffix=.{a.format}"])]


def show_log(quiet: bool) -> None:
    """Show multigen's log on stderr."""
    from multigen.progress import show_log

    show_log(quiet=quiet)


# --- types of values ---------------------------------------------------------------------------------------------


def count(text: str) -> int:
    """A whole number, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number, at least 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number") from None


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a number") from None


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a number above 0")
    return value


def size(text: str) -> int | tuple[int, int]:
    """A side in pixels, or WIDTHxHEIGHT as (height, width)."""
    width, by, height = text.partition("x")
    return (count(height), count(width)) if by else count(text)


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that are not empty. MultigenError if it cannot be read or has none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise MultigenError(f"--prompts {path}: cannot be read ({error})") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise MultigenError(f"--prompts {path}: no prompt in it; give one a line")
    return prompts
