"""`multigen convert`: a pickled checkpoint as safetensors."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser, new_parser, path
from multigen.errors import MultigenError


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser(
        "convert",
        "Write the tensors of a pickled checkpoint (.ckpt, .pt, .bin) as safetensors. Runs no code from it.",
    )
    parser.add_argument("source", type=path, metavar="FILE", help="the pickled checkpoint")
    parser.add_argument("target", type=path, metavar="OUT", help="a new .safetensors file")
    parser.add_argument("--key", metavar="NAME", help="the entry to convert, where several hold tensors")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    from multigen.runs.checks import check_new_file

    if not a.source.is_file():
        raise MultigenError(f"{a.source}: no such file")
    check_new_file(a.target)
    from multigen.storage.convert import convert

    count, rest = convert(a.source, a.target, key=a.key)
    left = f"; left out: {', '.join(rest)}" if rest else ""
    print(f"{a.target}: {count} tensors{left}", file=sys.stderr)
    print(a.target)
    return 0


COMMAND = Command("convert", "FILE OUT", "convert a pickled checkpoint to safetensors", parser, run)
