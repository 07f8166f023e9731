"""`multigen recipes`: the shipped recipes."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser, new_parser


def parser() -> Parser:
    """The parser of the command."""
    return new_parser("recipes", "List the shipped recipes.")


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    parser().parse(argv)
    from multigen.recipe.reader import read
    from multigen.recipe.source import shipped

    for name, path in shipped().items():
        print(f"{name:22} {read(path).data.get('description', '')}")
    return 0


COMMAND = Command("recipes", "", "list the shipped recipes", parser, run)
