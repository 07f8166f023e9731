"""The page of benchmarks: the written introduction, then every result file of benchmarks/results."""

from __future__ import annotations

from pathlib import Path

from docs.generate.markdown import deeper


def page(introduction: Path, results: Path) -> str:
    """The introduction of docs/benchmarks.md, and each results/*.md as a section."""
    text = introduction.read_text(encoding="utf-8")
    for path in sorted(results.glob("*.md")):
        result = path.read_text(encoding="utf-8")
        headed = result if result.startswith("#") else f"# {path.stem}\n\n{result}"
        text += "\n" + deeper(headed)
    return text
