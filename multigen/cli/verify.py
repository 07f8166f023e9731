"""`multigen verify`: media against their checksums."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser, new_parser, path
from multigen.errors import MultigenError


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser(
        "verify",
        "Check the media of a folder, or shards, against their checksums. Exit code 1 if one differs.",
    )
    parser.add_argument(
        "folder", type=path, metavar="DIR", help="a run folder, the folder of a `sample` or `edit`, or shards"
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    folder = parser().parse(argv).folder
    from multigen.recipe.manifest import FILE, verify

    if not folder.is_dir():
        raise MultigenError(
            f"{folder}: {'is a file; give a folder' if folder.exists() else 'no such folder'}"
        )
    if not (folder / FILE).is_file() and not (folder / "index.json").is_file():
        raise MultigenError(
            f"{folder}: there are no media to verify ({FILE} is missing); give the folder of a run, sample or edit, "
            "or shards"
        )
    from multigen.datasets import index

    faults = index.faults(folder) if (folder / index.FILE).is_file() else verify(folder)
    for fault in faults:
        print(fault)
    summary = f"{len(faults)} files are missing or changed" if faults else "all checksums match"
    print(f"{folder}: {summary}")
    return 1 if faults else 0


COMMAND = Command(
    "verify", "DIR", "check the media of a folder, or shards, against their checksums", parser, run
)
