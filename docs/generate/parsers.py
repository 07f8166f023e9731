"""The parsers of the command line, by the command's name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn
from unittest import mock

from multigen.cli.arguments import Parser
from multigen.cli.main import COMMANDS


class _Caught(Exception):
    def __init__(self, parser: Parser) -> None:
        self.parser = parser


def _catch(parser: Parser, argv: Sequence[str]) -> NoReturn:
    raise _Caught(parser)


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Each command's own parser, caught where the command would begin to read its arguments."""
    found = {}
    with mock.patch.object(Parser, "parse", _catch):
        for name, command in COMMANDS.items():
            try:
                command([])
            except _Caught as caught:
                found[name] = caught.parser
    return found
