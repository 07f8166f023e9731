"""Plain text as Markdown: cells of tables, and docstrings with their lists of arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Sequence

# A row of a list in a docstring: a name, two spaces or more, what it means; or a name, a colon, what it means.
_ALIGNED = re.compile(r"^(\S(?:[^\n]*?\S)?) {2,}(\S.*)$")
_NAMED = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*): (\S.*)$")


def cell(text: str) -> str:
    """Text for a table's cell; a | in code stays as it is."""
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(p if p.startswith("`") else p.replace("|", "\\|") for p in pieces)


def code(text: str) -> str:
    """Text as code within a line or a cell, where a | needs no escape."""
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """Prose of a docstring, in which Markdown's signs mean themselves; `code` stays code."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else _escaped(p) for p in pieces)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_\[\]{}#])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


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
    """The docstring of a class or function as Markdown, "" where it has none."""
    return from_text(inspect.getdoc(thing) or "")


def from_text(text: str) -> str:
    """A docstring's text as Markdown: paragraphs, and aligned lists as tables."""
    return "\n\n".join(_shown(block) for block in _blocks(text))


def arguments(thing: object, names: Collection[str]) -> tuple[str, dict[str, str]]:
    """The docstring of a part without its list of arguments, and what that list says of each of the names."""
    said: dict[str, str] = {}
    rest = []
    for block in _blocks(inspect.getdoc(thing) or ""):
        found = _rows(block, _ALIGNED) or _rows(block, _NAMED)
        known = [name for name, _ in found if set(name.split(", ")) & set(names)]
        if not known:
            rest.append(_shown(block))
        for name, meaning in found if known else []:
            said |= {each: cell(plain(meaning)) for each in name.split(", ") if each in names}
    return "\n\n".join(rest), said


def _blocks(text: str) -> list[str]:
    return [block for block in re.split(r"\n\s*\n", text.strip("\n")) if block.strip()]


def _shown(block: str) -> str:
    rows = _rows(block, _ALIGNED) or _rows(block, _NAMED)
    if rows:
        return table(["name", "meaning"], [(code(name.strip("`")), cell(plain(what))) for name, what in rows])
    lines = block.splitlines()
    if all(line.startswith(("- ", "  ")) for line in lines):
        return block
    return plain(block)


def _rows(block: str, form: re.Pattern[str]) -> list[tuple[str, str]]:
    """(name, meaning) of a list of one form; [] for anything else. Indented lines go on with the row above."""
    rows: list[tuple[str, str]] = []
    for line in block.splitlines():
        match = form.match(line)
        if match:
            rows.append((match[1], match[2]))
        elif rows and line.startswith("  "):
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}")
        else:
            return []
    return rows
