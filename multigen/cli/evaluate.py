"""`multigen evaluate`: measure a trained model."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import (
    SOURCE,
    Command,
    Parser,
    add_common,
    add_overrides,
    new_parser,
    path,
    show_log,
)
from multigen.errors import MultigenError

DESCRIPTION = """\
Measure a trained model: how well media match their prompts, distances from real media, copies of training media,
held-out loss, speed. Writes evaluation.json and report.html.
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("evaluate", DESCRIPTION)
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    add_overrides(parser, "evaluate.n=100, evaluate.metrics=[hue] or sample.steps=20")
    add_common(parser, "folder for the results (default: the run folder)")
    parser.add_argument(
        "--media",
        type=path,
        metavar="DIR",
        help="measure the files of this folder instead of generated media",
    )
    parser.add_argument(
        "--convert", action="store_true", help="with --media: fit files of other sizes and rates first"
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    if a.convert and a.media is None:
        raise MultigenError("--convert goes with --media")
    from multigen.runs.checks import check_source
    from multigen.storage.claim import check_folder

    overrides = [*a.overrides, *([] if a.seed is None else [f"seed={a.seed}"])]
    if a.media is not None and not a.media.is_dir():
        raise MultigenError(
            f"--media {a.media}: {'is a file; give a folder' if a.media.exists() else 'no such folder'}"
        )
    if a.out is not None:
        check_folder(a.out, f"--out {a.out}")
    check_source(a.source, overrides)
    from multigen.runs.evaluate import evaluate

    show_log(a.quiet)
    report = evaluate(
        a.source, *overrides, media=a.media, convert=a.convert, out=a.out, device=a.device, quiet=a.quiet
    )
    if not a.quiet:
        print(report)
    print(report.folder)
    return 0


COMMAND = Command(
    "evaluate", "SOURCE [key=value ...]", "measure a trained model against real media and noise", parser, run
)
