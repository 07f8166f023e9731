"""The report of an evaluation as data, and evaluation.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from multigen.evaluation.results import Distance, Measure, from_row, short, to_row, with_error
from multigen.storage.files import write_json

FILE = "evaluation.json"
FORMAT = "multigen evaluation 1"


@dataclass(frozen=True)
class Report:
    """The result of an evaluation.

    folder     where evaluation.json, its pictures and report.html are
    facts      everything else in evaluation.json: "recipe", "weights_hash", "seed", "versions", "sampling", "feature",
               "sets", "memorisation", "membership", "groups", "held_out_loss", "speed", "style", "latents", "converted"
    measures   the metrics, one row for each metric and set of media, with ceiling, floor and errors
    distances  from real media, one row for each kind and set of media

    `print(report)` shows it as the command line does.
    """

    folder: Path
    facts: Mapping[str, Any]
    measures: tuple[Measure, ...] = ()
    distances: tuple[Distance, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The result for the terminal: one aligned line for each metric and distance, then warnings."""
        if "style" in self.facts:
            return [f"style, {name}: {value}" for name, value in self.style().items()]
        rows: list[Sequence[str]] = [("measure", "set", "value", "real", "floor", "skill")]
        rows += [_line(m) for m in self.measures]
        for d in self.distances:
            if d.excess is not None:
                numbers = (short(d.value), short(d.real), short(d.far), f"excess {short(d.excess)}")
                rows.append((f"{d.distance} distance", d.set, *numbers))
        widths = [max(len(row[k]) for row in rows) for k in range(6)]
        out = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return [*out, *(d.problem for d in self.distances if d.problem)]

    def style(self) -> dict[str, str]:
        """What an adapter changes, in words: name -> value."""
        style = self.facts["style"]
        before, after = (with_error(style[k]["value"], style[k]["error"]) for k in ("before", "after"))
        return {
            "kernel distance from the tuning set, base model": before,
            "with the adapter": after,
            "media": f"{style['media']} of each model, compared with {style['tuning_media']} tuning media",
            "prompts": ", ".join(p or "(none)" for p in style["prompts"]),
        }

    def to_json(self) -> dict[str, Any]:
        """The content of evaluation.json; NaN and infinity become null."""
        rows = {
            "metrics": [to_row(m) for m in self.measures],
            "distances": [to_row(d) for d in self.distances],
        }
        return _plain({"format": FORMAT, **self.facts, **rows})

    def save(self) -> Self:
        """Write evaluation.json to the folder, and return the report."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / FILE, self.to_json())
        return self


def read_report(folder: Path) -> Report | None:
    """The report of a folder; None if it holds no evaluation.json, or none that can be read."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            return None
        measures = tuple(from_row(Measure, row) for row in data.pop("metrics"))
        distances = tuple(from_row(Distance, row) for row in data.pop("distances", ()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return Report(folder, data, measures, distances)


def _line(m: Measure) -> Sequence[str]:
    last = (
        short(m.skill)
        if m.inside is None
        else "inside"
        if m.inside
        else "outside the 10 to 90% of real media"
    )
    return m.metric, m.set, with_error(m.value, m.error), short(m.ceiling), short(m.floor), last


def _plain(value: Any) -> Any:
    """The value for JSON, which has no NaN and no infinity: null instead."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
