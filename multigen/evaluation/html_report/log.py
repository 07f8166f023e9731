"""The training log as the report reads it, and the few numbers of it that stand at the top of the page.

A log is a sequence of rows: "step" and any of "loss", "lr", "grad_norm", "items_per_s", "waited", "levels", "held_out"
(a number, or a mapping with "mean").
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from multigen.evaluation.html_report.axes import number
from multigen.evaluation.html_report.points import Point, finite

Log = Sequence[Mapping[str, Any]]


def numbers(log: Log, key: str) -> list[Point]:
    """(step, value) of the rows that have the number."""
    return finite([(r["step"], r[key]) for r in log if isinstance(r.get(key), int | float)])


def held_out(log: Log, key: str = "mean") -> list[Point]:
    """(step, held-out loss) of the rows that have a finite one above 0; "seen": that of media trained on."""
    found = []
    for row in log:
        value = row.get("held_out")
        if isinstance(value, Mapping):
            value = value.get(key)
        elif key != "mean":
            continue
        if isinstance(value, int | float):
            found.append((row["step"], value))
    return finite(found, above=0)


def tiles(log: Log, media: int, skipped: int) -> list[tuple[str, str]]:
    """The run in a few numbers: (name, value)."""
    losses, held = finite(numbers(log, "loss"), above=0), held_out(log)
    speeds = [y for _, y in numbers(log, "items_per_s")]
    found = [("media", f"{media:,}")] if media else []
    if log:
        found.append(("steps", f"{int(max(r['step'] for r in log)):,}"))
    if losses:
        tail = losses[-max(len(losses) // 20, 1) :]
        found.append(("loss", _short(statistics.fmean(y for _, y in tail))))
    if held:
        found.append(("held-out loss", _short(held[-1][1])))
    if speeds:
        found.append(("items/s", _short(statistics.median(speeds))))
    if waiting := [y for _, y in numbers(log, "waited")]:
        found.append(("waiting for data", f"{statistics.fmean(waiting):.1%}"))
    if skipped:
        found.append(("skipped", f"{skipped:,}"))
    return found


def _short(value: float) -> str:
    return number(float(f"{value:.3g}"))
