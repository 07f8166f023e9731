"""`multigen serve keys`: make, list and revoke the keys of a server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from multigen.cli.arguments import Parser, new_parser, positive
from multigen.errors import MultigenError

DESCRIPTION = """\
Make, list and revoke keys. A key is printed once, when it is made; the file holds its hash. A running server sees a
change within a second.

  multigen serve keys add keys.json ana --requests-per-minute 60 --units-per-minute 100
  multigen serve keys add keys.json prometheus --scope metrics
  multigen serve keys list keys.json
  multigen serve keys revoke keys.json ana

A unit is a picture of 256x256, so many pixels of a clip's frames, or a second of sound.
"""


def keys_parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("serve keys", DESCRIPTION)
    parser.add_argument("what", choices=["add", "list", "revoke"])
    parser.add_argument("file", type=Path, metavar="FILE", help="the file of keys")
    parser.add_argument("name", nargs="?", metavar="NAME", help="whose key it is")
    parser.add_argument(
        "--scope", action="append", metavar="SCOPE",
        help="generate, read or metrics; may be repeated (default: generate and read)",
    )  # fmt: skip
    parser.add_argument("--requests-per-minute", type=positive, metavar="N", help="(default: no bound)")
    parser.add_argument("--units-per-minute", type=positive, metavar="N", help="(default: no bound)")
    return parser


def run_keys(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = keys_parser().parse(argv)
    if (a.name is None) != (a.what == "list"):
        raise MultigenError(f"keys {a.what}: {'takes no name' if a.what == 'list' else 'give a NAME'}")
    given = (a.scope, a.requests_per_minute, a.units_per_minute)
    if a.what != "add" and given != (None, None, None):
        raise MultigenError("--scope, --requests-per-minute and --units-per-minute go with add")
    from multigen.serving.guard.keys import DEFAULT_SCOPES, add_key, read_keys, revoke_key

    if a.what == "add":
        print(
            add_key(
                a.file,
                a.name,
                a.scope or DEFAULT_SCOPES,
                requests_per_minute=a.requests_per_minute,
                units_per_minute=a.units_per_minute,
            )
        )
    elif a.what == "revoke":
        revoke_key(a.file, a.name)
    else:
        for key in read_keys(a.file):
            made = time.strftime("%Y-%m-%d", time.gmtime(key.created))
            rates = (
                f"{_rate(key.requests_per_minute)} requests and {_rate(key.units_per_minute)} units a minute"
            )
            print(f"{key.name}  {', '.join(key.scopes)}; {rates}; made {made}")
    return 0


def _rate(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"
