"""`multigen info`: what a media file says of how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multigen.cli.arguments import Command, Parser, new_parser, path
from multigen.cli.verify import add_trust_and_json, plain

DESCRIPTION = """\
Show what media files say of how they were made: signed manifests (C2PA), of any tool, and multigen's own metadata.

  multigen info apple.png
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("info", DESCRIPTION)
    parser.add_argument("files", nargs="+", type=path, metavar="FILE", help="media")
    add_trust_and_json(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    from multigen.provenance.reading import check_medium
    from multigen.provenance.told import told

    for file in a.files:
        check_medium(file)
    found = [told(file, a.trust or []) for file in a.files]
    if a.json:
        print(json.dumps({"files": found}, indent=2))
        return 0
    for one in found:
        for line in _lines(one):
            print(plain(line))
    return 0


def _lines(one: Mapping[str, Any]) -> Iterator[str]:
    """A file for people."""
    yield one["path"]
    yield f"  {'signature':21}{one['signature']}"
    for row in one["actions"]:
        yield f"  {'action':21}{', '.join(row.values())}"
    for title in one["sources"]:
        yield f"  {'made from':21}{title}"
    said = one["said"]
    if not said:
        yield f"  {'metadata':21}none of multigen"
        return
    for key, value in said.items():
        if key == "recipe":
            yield f"  {'recipe':21}embedded; make it again: multigen run {one['path']}"
        elif key not in ("format", "action"):
            yield f"  {key.replace('_', ' '):21}{value}"


COMMAND = Command("info", "FILE ...", "show what media files say of how they were made", parser, run)
