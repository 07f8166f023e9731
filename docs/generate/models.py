"""One page of all model cards: what each set of shipped weights knows, and how it was trained and measured."""

from __future__ import annotations

from pathlib import Path

from docs.generate.markdown import deeper

_HEAD = """\
# Shipped models

The package carries five sets of weights. Each has a card: data, licence, training, evaluation, limits.

"""


def page(weights: Path) -> str:
    """The cards below `weights`, their headings one level lower."""
    cards = [path.read_text(encoding="utf-8") for path in sorted(weights.glob("*/README.md"))]
    return _HEAD + "\n".join(deeper(card) for card in cards)
