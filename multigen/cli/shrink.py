"""`multigen shrink`: a smaller copy of a trained model, and what it costs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from multigen.cli.arguments import (
    SOURCE,
    Command,
    Parser,
    add_overrides,
    add_quiet,
    device,
    new_parser,
    number,
    path,
    positive,
    show_log,
    whole,
)
from multigen.errors import MultigenError

DESCRIPTION = """\
Write a smaller copy of a trained model as one file, which every command opens like any other. It is measured beside
the model on media of equal prompts and seeds, and refused where it is too much worse.

  multigen shrink image_emoji small.safetensors --int8
  multigen shrink runs/mine small.safetensors --prune 0.3 --recover 30
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("shrink", DESCRIPTION)
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    parser.add_argument("out", type=path, metavar="FILE", help="a new .safetensors file")
    add_overrides(parser, "train.lr=5e-4, of the training that --recover makes")
    parser.add_argument("--int8", action="store_true", help="store weights in 8 bits, a quarter of float32")
    parser.add_argument("--half", action="store_true", help="store weights as float16, half of float32")
    parser.add_argument(
        "--prune",
        type=_share,
        metavar="SHARE",
        help="take this share of the network's channels away, those that matter least: 0.3",
    )
    parser.add_argument(
        "--recover", type=positive, metavar="MINUTES", help="with --prune: train what is left for so long"
    )
    parser.add_argument(
        "-n",
        type=_media,
        default=64,
        metavar="N",
        help="media to measure with; 0: measure nothing (default: 64)",
    )
    parser.add_argument(
        "--bound",
        type=positive,
        default=0.1,
        metavar="RISE",
        help="largest rise of the kernel distance's excess (default: 0.1)",
    )
    parser.add_argument("--force", action="store_true", help="write the copy even if it is too much worse")
    parser.add_argument(
        "--device", type=device, metavar="DEVICE", help="cpu, cuda, cuda:1, mps (default: the best available)"
    )
    add_quiet(parser)
    return parser


def _share(text: str) -> float:
    """A share of the channels; ArgumentTypeError outside (0, 1)."""
    value = number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; give a share over 0 and under 1, such as 0.3"
        )
    return value


def _media(text: str) -> int:
    """How many media to measure with: none, or enough."""
    value = whole(text)
    if value != 0 and value < 8:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give 8 or more, or 0 to measure nothing")
    return value


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    _check(a)
    from multigen.runs.checks import check_new_file, check_source

    check_new_file(a.out)
    check_source(a.source)
    from multigen.runs.shrink import Shrinking, shrink

    show_log(a.quiet)
    how = Shrinking(int8=a.int8, prune=a.prune or 0.0, recover=a.recover or 0.0, overrides=tuple(a.overrides))
    made = shrink(a.source, a.out, how, n=a.n, bound=a.bound, force=a.force, device=a.device, quiet=a.quiet)
    if not a.quiet:
        print(made, file=sys.stderr)
    print(made.path)
    return 0


def _check(a: argparse.Namespace) -> None:
    """MultigenError for options that do not go together."""
    if not (a.int8 or a.half or a.prune):
        raise MultigenError("shrink: say how: --int8, --half, --prune SHARE, or --prune SHARE --int8")
    if a.int8 and a.half:
        raise MultigenError("--int8 and --half do not go together; give one of them")
    if a.recover and not a.prune:
        raise MultigenError("--recover goes with --prune: nothing else needs a training")
    if a.overrides and not a.recover:
        raise MultigenError(f"{a.overrides[0]}: overrides are for the training that --recover makes")


COMMAND = Command(
    "shrink",
    "SOURCE FILE --int8 | --half | --prune SHARE",
    "write a smaller copy of a trained model",
    parser,
    run,
)
