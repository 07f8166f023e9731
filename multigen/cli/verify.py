"""`multigen verify`: files against their signatures, folders against their checksums."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multigen.cli.arguments import Command, Parser, new_parser, path
from multigen.errors import MediaError, MultigenError

DESCRIPTION = """\
Check media files: are they signed, by whom, and as they were signed? Of a folder, check all files against the
checksums that were written with them.

  multigen verify apple.png song.wav
  multigen verify runs/image_digits

Exit codes: 0 all is well; 1 a file is altered, damaged or missing; 2 a mistake in the command; 3 a file is not signed;
4 a file is intact, and signed by somebody whom no certificate at hand vouches for. Of several the worst: 1, then 3, 4.
"""
# Control characters, what turns the direction of writing, ends of lines, halves of characters.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("verify", DESCRIPTION)
    parser.add_argument(
        "places",
        nargs="+",
        type=path,
        metavar="FILE",
        help="media; or a run folder, the folder of a `sample` or `edit`, or shards",
    )
    add_trust_and_json(parser)
    return parser


def add_trust_and_json(parser: Parser) -> None:
    """Options of commands that read signatures."""
    parser.add_argument(
        "--trust",
        action="append",
        type=path,
        metavar="PEM",
        help="certificates of authorities that are trusted, too; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    from multigen.runs.verification import CODES, worst

    found = [
        _folder(place) if place.is_dir() else _file(place, a.trust or []) for place in _existing(a.places)
    ]
    if a.json:
        print(json.dumps({"places": found}, indent=2))
    else:
        for one in found:
            print(*(plain(line) for line in one.pop("lines")), sep="\n")
    return CODES[worst(one["verdict"] for one in found)]


def plain(text: str) -> str:
    """A line for a terminal: what a file says may hold anything."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _existing(places: Sequence[Path]) -> Sequence[Path]:
    for place in places:
        if not place.exists():
            raise MultigenError(f"{place}: no such file or folder")
    return places


def _file(place: Path, trust: Sequence[Path]) -> dict[str, Any]:
    """What the checks say of a file."""
    from multigen.runs.verification import Row, check, worst

    try:
        rows = check(place, trust)
    except MediaError as error:  # one of many: the others are said all the same
        rows = [Row("file", "bad", str(error).removeprefix(f"{place}: "))]
    return {
        "path": str(place),
        "verdict": worst(row.verdict for row in rows),
        "checks": [{**r.data, "check": r.check, "verdict": r.verdict, "text": r.text} for r in rows],
        "lines": [str(place), *(f"  {row.check + ':':11}{row.text}" for row in rows)],
    }


def _folder(folder: Path) -> dict[str, Any]:
    """What the checksums say of a folder."""
    from multigen.recipe.manifest import FILE, verify

    if not (folder / FILE).is_file() and not (folder / "index.json").is_file():
        raise MultigenError(
            f"{folder}: there are no media to verify ({FILE} is missing); give the folder of a run, sample or edit, "
            "or shards"
        )
    from multigen.datasets import index

    faults = index.faults(folder) if (folder / index.FILE).is_file() else verify(folder)
    summary = f"{len(faults)} files are missing or changed" if faults else "all checksums match"
    return {
        "path": str(folder),
        "verdict": "bad" if faults else "good",
        "faults": faults,
        "lines": [*faults, f"{folder}: {summary}"],
    }


COMMAND = Command(
    "verify", "FILE ...", "check media against their signatures, folders against their checksums", parser, run
)
