"""`multigen export`: a trained model in a form in which others open it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from multigen.cli.arguments import SOURCE, Command, Parser, add_quiet, new_parser, path, positive, show_log
from multigen.errors import MultigenError
from multigen.model.targets import SINGLE_FILE, TARGETS
from multigen.model.targets import target as check_target

_ABOUT = "; ".join(f"{name}: {target.about}" for name, target in TARGETS.items())


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("export", "Write a trained model for others: as one file, for ONNX or for diffusers.")
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    parser.add_argument(
        "out",
        nargs="?",
        type=path,
        metavar="OUT",
        help="a new file or folder (default: one named after the recipe)",
    )
    parser.add_argument(
        "--to",
        type=_target,
        default=SINGLE_FILE,
        choices=list(TARGETS),
        metavar="TARGET",
        help=f"{_ABOUT} (default: {SINGLE_FILE})",
    )
    parser.add_argument("--half", action="store_true", help="store weights as float16, half the size")
    parser.add_argument(
        "--merge", action="store_true", help="for the run of a LoRA: write base and LoRA as one model"
    )
    parser.add_argument(
        "--ema",
        type=positive,
        metavar="SIGMA",
        help="average the weights over another length (sigma_rel), from a run's snapshots",
    )
    add_quiet(parser)
    return parser


def _target(name: str) -> str:
    """The name of a target; ArgumentTypeError, with the nearest, for another."""
    try:
        check_target(name)
    except MultigenError as error:  # argparse says which option it is
        raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None
    return name


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    from multigen.runs.checks import check_export

    check_export(a.source, a.out, a.to)
    from multigen.model.export import export

    show_log(a.quiet)
    print(export(a.source, a.out, to=a.to, half=a.half, merge=a.merge, ema=a.ema))
    return 0


COMMAND = Command(
    "export",
    "SOURCE [OUT] --to TARGET",
    "write a trained model for others: one file, ONNX, diffusers",
    parser,
    run,
)
