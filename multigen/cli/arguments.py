"""What the commands' argument parsers share. Only the standard library is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from multigen.errors import MultigenError, message


class Parser(argparse.ArgumentParser):
    """argparse whose refusals are MultigenErrors, with the nearest option."""

    def error(self, message: str) -> NoReturn:
        # In mixed order argparse counts `key=value ...` among the required, although none need be given.
        raise MultigenError(f"{message.replace(', key=value', '')}. See: {self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Options and positional arguments in any order."""
        arguments, rest = self.parse_known_intermixed_args(argv)
        if rest:
            options = [o for a in self._actions for o in a.option_strings if o.startswith("--")]
            raise MultigenError(message("option", rest[0], options))
        return arguments


def common(name: str, does: str) -> Parser:
    parser = Parser(prog=f"multigen {name}", description=does, allow_abbrev=False)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write to (default: runs/<recipe name>)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the best here)")
    parser.add_argument("--seed", type=int, metavar="N", help="the same as seed=N")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_model_options(parser: Parser) -> None:
    """What every command takes that makes media with a trained model."""
    parser.add_argument("source", metavar="SOURCE", help="a run folder, a weights file or a trained recipe")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="sampler.name=heun guide.scale=4 ..."
    )
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="what to make; may be given many times"
    )
    parser.add_argument("-n", type=count, metavar="N", help="media for each prompt")


def log(quiet: bool) -> None:
    from multigen.training.log import to_stderr

    to_stderr(quiet=quiet)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number, at least 1")
    return int(text)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a number above 0")
    return value


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number") from None


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a number") from None


def size(text: str) -> int | tuple[int, int]:
    """Pixels: a side, or WIDTHxHEIGHT as (height, width)."""
    width, by, height = text.partition("x")
    return (count(height), count(width)) if by else count(text)


def lines_of(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise MultigenError(f"--prompts {path}: cannot be read ({error})") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise MultigenError(f"--prompts {path}: there is no prompt in it; give one a line")
    return prompts
