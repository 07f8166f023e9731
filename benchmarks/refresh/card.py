"""Sections of a card between markers, which a stage replaces and people leave alone."""

from __future__ import annotations

import re
from pathlib import Path

from multigen.storage.files import write_text

CARD = "README.md"
_BEFORE = "\n## Limits\n"  # where a new section stands


def write_section(folder: Path, stage: str, text: str) -> None:
    """Replace the section of a stage in the card of a folder; a new one stands before the limits, or at the end."""
    path = folder / CARD
    card = path.read_text() if path.is_file() else f"# {folder.name}\n"
    begin, end = f"<!-- refresh: {stage} -->", f"<!-- end of refresh: {stage} -->"
    section = f"{begin}\n\n{text.strip()}\n\n{end}"
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if found.search(card):
        card = found.sub(lambda _: section, card)
    else:
        head, marker, tail = card.partition(_BEFORE)
        card = f"{head.rstrip()}\n\n{section}\n{marker}{tail}"
    write_text(path, card)


def rows_of(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
