"""The reference of commands: usage and options of each, from the parsers that read the command line."""

from __future__ import annotations

import argparse
import textwrap

from docs.generate.markdown import cell, code, plain, table
from multigen.cli.arguments import Parser
from multigen.cli.main import COMMANDS

_HEAD = """\
# Commands

Every command with its options. This page is made from the parsers that read the command line; `multigen COMMAND
--help` prints the same. Options and `key=value` overrides may stand in any order.

Results (paths, lists) go to stdout, everything else to stderr.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a fault: a full disk, memory that ran out, a training that fails |
| 2 | a mistake in the command or the recipe, with a message that says how to mend it |
| 130, 143 | stopped by Ctrl-C or SIGTERM, after saving |

"""


def page() -> str:
    """The whole reference."""
    return _HEAD + "\n".join(_command(name, command.parser()) for name, command in COMMANDS.items())


def _command(name: str, parser: Parser) -> str:
    about, _, example = (parser.description or "").partition("\n\n")
    line = " ".join(parser.format_usage().removeprefix("usage: ").split())
    usage = "\n".join(textwrap.wrap(line, 84, subsequent_indent="    ", break_on_hyphens=False))
    text = f"## {name}\n\n{plain(about)}\n\n```text\n{usage}\n```\n\n"
    if example or parser.epilog:
        text += f"```sh\n{_dedented(example or parser.epilog or '')}\n```\n\n"
    # What must be given first.
    actions = sorted(parser.actions, key=lambda a: bool(a.option_strings))
    rows = [_row(a) for a in actions if not isinstance(a, argparse._HelpAction)]
    return text + (table(["argument", "meaning"], rows) if rows else "")


def _dedented(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _row(action: argparse.Action) -> list[str]:
    value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
    value = value if isinstance(value, str) else " ".join(value)
    names = ", ".join(f"{option} {value}".strip() for option in action.option_strings) or value or action.dest
    meaning = plain((action.help or "") % {**vars(action), "prog": ""} if action.help else "")
    return [code(names), cell(meaning)]
