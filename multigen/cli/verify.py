"""`multigen verify`: media against their checksums."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multigen.cli.arguments import Command, Parser, new_parser


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser(
        "verify",
        "Check the media of a folder, or shards, against their checksums. Exit code 1 if one differs.",
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a run folder, the folder of a `sample` or `edit`, or shards"
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    folder = parser().parse(argv).folder
    from multigen.datasets import index
    from multigen.recipe.manifest import verify

    faults = index.faults(folder) if (folder / index.FILE).is_file() else verify(folder)
    for fault in faults:
        print(fault)
    summary = f"{len(faults)} files are missing or changed" if faults else "all checksums match"
    print(f"{folder}: {summary}")
    return 1 if faults else 0


COMMAND = Command(
    "verify", "DIR", "check the media of a folder, or shards, against their checksums", parser, run
)
