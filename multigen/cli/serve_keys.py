"""`multigen serve keys`: make, list and revoke the keys of a server."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from multigen.cli.arguments import Parser, positive
from multigen.errors import MultigenError, message

USAGE = {"add": ("FILE", "NAME"), "list": ("FILE",), "revoke": ("FILE", "NAME")}


def add_key_options(parser: Parser) -> None:
    """Add what `keys add` takes."""
    parser.add_argument(
        "--scope",
        action="append",
        metavar="SCOPE",
        help="with keys add: generate, read or metrics; may be repeated (default: generate and read)",
    )
    parser.add_argument(
        "--requests-per-minute", type=positive, metavar="N", help="with keys add (default: no bound)"
    )
    parser.add_argument(
        "--units-per-minute",
        type=positive,
        metavar="N",
        help="with keys add; a unit is a picture of 256x256, so many pixels of frames, or a second of sound",
    )
    parser.add_argument(
        "--max-priority",
        choices=[str(level) for level in range(10)],
        metavar="N",
        help="with keys add: the highest `priority`, 0 to 9, that its requests may ask for (default: 0)",
    )


def check_no_key_options(a: argparse.Namespace) -> None:
    """MultigenError for options of `keys add` on anything else."""
    if any(one is not None for one in (a.scope, a.requests_per_minute, a.units_per_minute, a.max_priority)):
        raise MultigenError(
            "--scope, --requests-per-minute, --units-per-minute and --max-priority go with: serve keys add"
        )


def run_keys(words: Sequence[str], a: argparse.Namespace) -> int:
    """Do what the words after `keys` say; the exit code."""
    what, *rest = words or [""]
    if what not in USAGE:
        raise MultigenError(message("keys", what, USAGE))
    if len(rest) != len(USAGE[what]):
        raise MultigenError(f"keys {what}: give {' and '.join(USAGE[what])}")
    if what != "add":
        check_no_key_options(a)
    from multigen.recipe.home import expanded_path
    from multigen.serving.guard.keys import DEFAULT_SCOPES, add_key, read_keys, revoke_key

    path = Path(expanded_path(rest[0]))
    if what == "add":
        bounds = {"requests_per_minute": a.requests_per_minute, "units_per_minute": a.units_per_minute}
        print(
            add_key(path, rest[1], a.scope or DEFAULT_SCOPES, **bounds, max_priority=int(a.max_priority or 0))
        )
    elif what == "revoke":
        revoke_key(path, rest[1])
    else:
        for key in read_keys(path):
            made = time.strftime("%Y-%m-%d", time.gmtime(key.created))
            rates = (
                f"{_rate(key.requests_per_minute)} requests and {_rate(key.units_per_minute)} units a minute"
            )
            first = f"; priority up to {key.max_priority}" if key.max_priority else ""
            print(f"{key.name}  {', '.join(key.scopes)}; {rates}{first}; made {made}")
    return 0


def _rate(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"
