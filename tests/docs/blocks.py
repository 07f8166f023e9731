"""Code blocks of the pages, and the comments above them that say how a test runs them. See CONTRIBUTING.md.

`<!-- run -->`, `<!-- run: OLD => NEW | + key=value | FILE -->`, `<!-- output -->`, `<!-- not run: REASON -->`
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(
    r"^(?:<!-- (?P<how>(?:run|not run|output)\b.*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A code block: where it stands, its language, its text as shown, and how it runs."""

    page: Path
    line: int
    language: str
    text: str
    how: str = ""  # "", "run", "not run", "output"
    replaced: tuple[tuple[str, str], ...] = ()
    added: tuple[str, ...] = ()
    file: str = ""
    reason: str = field(default="", compare=False)

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> str:
        """The text that is run. AssertionError for a replacement whose text is not there."""
        text = self.text
        for old, new in self.replaced:
            assert old in text, f"{self.where}: {old!r} is not in the block"
            text = text.replace(old, new)
        return text

    def commands(self) -> list[list[str]]:
        """The arguments of each `multigen` line as shown."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = [shlex.split(line, comments=True) for line in lines if re.match(r"\s*multigen\s", line)]
        return [words[1:] for words in found]


def read(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text"))
        blocks.append(_block(page, line, match["language"], match["text"], match["how"] or ""))
    return blocks


def _block(page: Path, line: int, language: str, text: str, how: str) -> Block:
    kind, _, rest = how.partition(": ")
    if kind == "not run":
        return Block(page, line, language, text, kind, reason=rest)
    replaced, added, file = [], [], ""
    for item in filter(None, (i.strip() for i in rest.split(" | "))):
        old, arrow, new = item.partition(" => ")
        if arrow:
            replaced.append((old, new))
        elif item.startswith("+ "):
            added += item[2:].split()
        else:
            file = item
    return Block(page, line, language, text, kind, tuple(replaced), tuple(added), file)
