"""Plain text as Markdown: cells of tables, and docstrings with their aligned lists."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

# A row of a list in a docstring: a name, two spaces or more, what it means.
_ROW = re.compile(r"^(\S(?:[^\n]*?\S)?) {2,}(\S.*)$")


def cell(text: str) -> str:
    """Text for a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code within a line or a cell."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def plain(text: str) -> str:
    """Prose of a docstring, in which Markdown's signs mean themselves; `code` stays code."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([\\*_<\[\]{}#])", r"\\\1", p) for p in pieces)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells are Markdown already."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def deeper(text: str, levels: int = 1) -> str:
    """Markdown with its headings some levels lower; lines of code that begin with # stay."""
    lines, fenced = [], False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        lines.append("#" * levels + line if line.startswith("#") and not fenced else line)
    return "\n".join(lines) + "\n"


def docstring(thing: object) -> str:
    """The docstring of a class or function as Markdown, "" where it has none of its own."""
    return from_text(inspect.getdoc(thing) or "")


def from_text(text: str) -> str:
    """A docstring's text as Markdown: paragraphs, and aligned lists as tables."""
    blocks = [_block(block) for block in re.split(r"\n\s*\n", text.strip("\n")) if block.strip()]
    return "\n\n".join(blocks)


def _block(block: str) -> str:
    rows = _rows(block.splitlines())
    if rows:
        return table(["", ""], [(code(name.strip("`")), cell(plain(what))) for name, what in rows])
    lines = block.splitlines()
    if all(line.startswith(("- ", "  ")) for line in lines) or all(line.startswith("    ") for line in lines):
        return block
    return plain(block)


def _rows(lines: Sequence[str]) -> list[tuple[str, str]]:
    """(name, meaning) of an aligned list; [] for anything else. Lines indented below a row go on with it."""
    rows: list[tuple[str, str]] = []
    for line in lines:
        match = _ROW.match(line)
        if match:
            rows.append((match[1], match[2]))
        elif rows and line.startswith("  "):
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}")
        else:
            return []
    return rows
