"""Formulas: LaTeX in Markdown, turned into MathML when the site is built. Browsers show it without script or font.

GitHub reads the same two forms: a fence with the language `math` is a display formula, and dollar signs around
backticks hold a formula within a line: $`x_t`$.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

INLINE = r"\$`([^`]+)`\$"


def fence(source: str, language: str, class_name: str, options: Any, md: Markdown, **more: Any) -> str:
    """A display formula; formulas that are aligned below one another stand in `aligned`."""
    return f'<div class="formula">{convert(source.strip(), display="block")}</div>'


class _Inline(InlineProcessor):
    def handleMatch(self, m: Any, data: str) -> tuple[ElementTree.Element | str, int, int]:  # noqa: N802
        return self.md.htmlStash.store(convert(m.group(1))), m.start(0), m.end(0)


class Formulas(Extension):
    """Python-Markdown's extension for formulas within a line."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Before backticks, which are code elsewhere."""
        md.inlinePatterns.register(_Inline(INLINE, md), "formula", 195)


def makeExtension(**options: Any) -> Formulas:  # noqa: N802
    """What Python-Markdown looks for in a module that it is told to load."""
    return Formulas(**options)
