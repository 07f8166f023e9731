"""What the commands' argument parsers share. Only the standard library is imported."""

from __future__ import annotations

import argparse
import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from multigen.errors import MultigenError, message, reason

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


def add_common(parser: Parser, out: str, *, bucket: bool = False) -> None:
    """Add what every command that runs a model takes; `out` is the help of --out, which may be a `bucket`."""
    kind, metavar = (place, "PLACE") if bucket else (path, "DIR")
    parser.add_argument("--out", type=kind, metavar=metavar, help=out)
    parser.add_argument(
        "--device",
        type=device,
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, mps (default: the best available)",
    )
    parser.add_argument("--seed", type=seed, metavar="N", help="random seed; the same as seed=N")
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


def add_resume(parser: Parser) -> None:
    """Add what every command takes that goes on with what it has left when it was stopped."""
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with what the same command has left when it was stopped; what is finished stays",
    )


def add_format(parser: Parser) -> None:
    """Add what every command takes that writes media: their format, and how soon they shall be there."""
    parser.add_argument(
        "--fast",
        action="store_true",
        help="sample with the model's student, in few calls of its network; the same as fast=true",
    )
    parser.add_argument(
        "--format",
        type=lambda text: text.removeprefix(".").lower(),
        metavar="FORMAT",
        help="of the files: png, jpg, webp; wav, flac, mp3, opus; mp4, webm, gif ...",
    )


def sampling_overrides(a: argparse.Namespace) -> list[str]:
    """The overrides of the command line, those that options stand for among them."""
    fast = ["fast=true"] if a.fast else []
    return [*a.overrides, *fast, *([] if a.format is None else [f"sample.suffix=.{a.format}"])]


def show_log(quiet: bool) -> None:
    """Show multigen's log on stderr."""
    from multigen.progress import show_log

    show_log(quiet=quiet)


# --- types of values ---------------------------------------------------------------------------------------------


def path(text: str) -> Path:
    """A path, `~` at its beginning being the home folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; give a path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; there is no home folder of {text.partition('/')[0][1:]!r}"
        ) from None


def place(text: str) -> Path | str:
    """A folder, or the address of a bucket, which stays as it is."""
    return text if re.match(r"[a-z][a-z0-9+.-]*(::|://)", text) else path(text)


def device(text: str) -> str:
    """The name of a device as torch writes it; whether it is here is known where torch is."""
    if not re.fullmatch(r"(auto|cpu|(cuda|mps)(:\d{1,3})?)", text):
        raise argparse.ArgumentTypeError(message("device", text, DEVICES).partition(": ")[2])
    return text


def seed(text: str) -> int:
    """A seed of random numbers."""
    value = whole(text)
    if not 0 <= value < 2**62:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number from 0 to 2^62 - 1")
    return value


def count(text: str) -> int:
    """A whole number, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number, at least 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text, 10) if len(text) < 100 else int("")
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
    """The lines of a text file that are not empty. MultigenError if it cannot be read or has none.

    UTF-8, with or without a byte-order mark, or UTF-16 with one; lines end as on any system.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise MultigenError(f"--prompts {path}: cannot be read ({reason(error)})") from None
    try:
        marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = raw.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise MultigenError(
            f"--prompts {path}: line {line} is not UTF-8 text; save the file as UTF-8"
        ) from None
    # Not `splitlines`: a line of JSON may hold other signs that separate lines.
    prompts = [line.strip() for line in re.split("\r\n|\r|\n", text) if line.strip()]
    if not prompts:
        raise MultigenError(f"--prompts {path}: no prompt in it; give one a line")
    return prompts
