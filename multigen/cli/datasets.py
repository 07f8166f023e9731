"""`multigen datasets`: what can be fetched, and fetching it."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser, show_log
from multigen.errors import MultigenError


def parser() -> Parser:
    """The parser of the command."""
    made = Parser(
        prog="multigen datasets",
        description="Data sets that no pip package carries. `list` shows them; `fetch NAME` downloads one, checks it "
        "against pinned checksums and writes it to the cache, where recipes find it. Nothing else ever downloads.",
        allow_abbrev=False,
    )
    made.add_argument("what", choices=["list", "fetch"], help="show them, or get one")
    made.add_argument("name", nargs="?", metavar="NAME", help="which one to fetch: emoji")
    made.add_argument("--again", action="store_true", help="make it anew even if it is there")
    made.add_argument("--quiet", action="store_true", help="no progress on stderr")
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    if (a.name is None) == (a.what == "fetch"):
        raise MultigenError(f"datasets {a.what}: {'name one' if a.what == 'fetch' else 'takes no name'}")
    from multigen.datasets.fetch import FETCHABLE, fetch, fetchable

    if a.what == "fetch":
        data = fetchable(a.name)
        show_log(a.quiet)
        print(fetch(data, again=a.again))
        return 0
    for data in FETCHABLE.values():
        state = f"here: {data.folder}" if data.here else f"{data.size / 1e6:.0f} MB to fetch"
        print(f"{data.name}  {data.about} ({state})")
        for package in data.packages:
            print(f"  {package}: {package.licence}, by {package.holder}")
    return 0


COMMAND = Command(
    "datasets", "list | fetch NAME", "data sets that no package carries: show them, get one", parser, run
)
