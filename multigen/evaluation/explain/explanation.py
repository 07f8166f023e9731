"""An explanation as data, as lines for the terminal and as tables for the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multigen.evaluation.explain.swap import Swapped, row
from multigen.evaluation.explain.words import Told
from multigen.evaluation.results import short
from multigen.generation.noise_levels import Interval
from multigen.storage.files import write_json

FILE = "explanation.json"
FORMAT = "multigen explanation 1"
LEAVING_OUT = "left out"
ATTENTION = "attention"


@dataclass(frozen=True)
class Explanation:
    """What was found of one prompt.

    folder    with explanation.json, its pictures and report.html
    levels    the intervals of noise levels, from strong noise on
    told      what each word does
    swapped   what other prompts decide, one for each
    feature   in which media are scored; "" where there is no other prompt
    """

    folder: Path
    prompt: str
    n: int
    levels: Sequence[Interval]
    told: Told
    swapped: Sequence[Swapped]
    feature: str

    @property
    def measures(self) -> tuple[str, ...]:
        """What the words were measured by: leaving out, and attention where the network attends to them."""
        return (LEAVING_OUT,) if self.told.attention is None else (LEAVING_OUT, ATTENTION)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The tables for the terminal."""
        out: list[str] = []
        for title, rows in self.tables().items():
            columns = list(rows[0])
            cells = [columns, *([r.get(c, "") for c in columns] for r in rows)]
            widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
            out += ["", title]
            out += [
                "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
            ]
        return out[1:]

    def tables(self) -> dict[str, list[dict[str, str]]]:
        """Title -> rows of text."""
        names = ["all noise", *(f"noise {level}" for level in self.levels)]
        told = self.told
        out = {
            "How far the answers move without each word, of their size": [
                {"without": word}
                | {
                    name: _share(c, e)
                    for name, c, e in zip(names, told.change[k], told.error[k], strict=True)
                }
                for k, word in enumerate(told.words)
            ]
        }
        if told.attention is not None:
            out["Share of the attention that goes to each word"] = [
                {"word": word.text}
                | {
                    name: f"{float(told.attention[i, list(word.tokens)].sum(0).mean()):.0%}"
                    for i, name in enumerate(names)
                }
                for word in told.tokens
            ]
        if self.swapped:
            out[f"What another prompt decides that takes over in one interval ({self.feature})"] = [
                {"other prompt": one.other}
                | {
                    name: f"{_moved(m, e)} ({t['count']} of {self.n})"
                    for name, m, e, t in zip(names[1:], one.moved, one.error, one.turned, strict=True)
                }
                | {"told apart": f"{one.right['share']:.0%}"}
                for one in self.swapped
            ]
        return out

    def to_json(self) -> dict[str, Any]:
        """The content of explanation.json."""
        told = self.told
        return {
            "format": FORMAT,
            "prompt": self.prompt,
            "n": self.n,
            "measures": list(self.measures),
            "feature": self.feature,
            "levels": [[_finite(level.most), level.least] for level in self.levels],
            "words": {
                word: {"change": told.change[k], "error": [_finite(e) for e in told.error[k]]}
                for k, word in enumerate(told.words)
            },
            "swapped": {
                one.other: {"right": one.right, "intervals": [row(one, k) for k in range(len(self.levels))]}
                for one in self.swapped
            },
        }

    def save(self) -> Path:
        """Write explanation.json; its path."""
        write_json(self.folder / FILE, self.to_json())
        return self.folder / FILE


def _moved(value: float, error: float) -> str:
    if math.isnan(value):
        return "-"
    return short(value) if math.isnan(error) else f"{short(value)} ± {short(error)}"


def _share(value: float, error: float) -> str:
    return f"{value:.1%}" if math.isnan(error) else f"{value:.1%} ± {error:.1%}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) and value < 1e6 else None
