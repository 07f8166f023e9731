"""`multigen explain`: what each word of a prompt does, and at which noise levels what is decided."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import (
    SOURCE,
    Command,
    Parser,
    add_common,
    add_overrides,
    count,
    new_parser,
    show_log,
)

DESCRIPTION = """\
Tell what each word of a prompt does, and at which noise levels what is decided. Writes explanation.json and
report.html.

  multigen explain image_emoji --prompt "red apple"
  multigen explain image_emoji --prompt "red apple" --against "green apple" --against "red car"
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("explain", DESCRIPTION)
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    add_overrides(parser, "sample.steps=12 or evaluate.feature.name=hues")
    parser.add_argument(
        "--prompt", required=True, metavar="TEXT", help="the prompt whose words are looked at"
    )
    parser.add_argument(
        "--against", action="append", default=[], metavar="TEXT",
        help="another prompt, which takes over during one interval of noise levels; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "-n", type=count, default=8, metavar="N", help="seeds, 4 or more with --against (default: 8)"
    )
    parser.add_argument(
        "--levels", type=count, default=4, metavar="N", help="intervals of noise levels (default: 4)"
    )
    add_common(parser, "folder for the results (default: a new explanation-N)")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    from multigen.runs.checks import check_source
    from multigen.storage.claim import check_folder

    if a.out is not None:
        check_folder(a.out, f"--out {a.out}")
    check_source(a.source, a.overrides)
    from multigen.runs.explain import explain

    show_log(a.quiet)
    found = explain(
        a.source, a.prompt, *a.overrides, against=a.against, n=a.n, levels=a.levels, seed=a.seed, out=a.out,
        device=a.device, quiet=a.quiet,
    )  # fmt: skip
    if not a.quiet:
        print(found)
    print(found.folder)
    return 0


COMMAND = Command(
    "explain",
    "SOURCE --prompt TEXT [--against TEXT]",
    "what each word does, and at which noise levels",
    parser,
    run,
)
