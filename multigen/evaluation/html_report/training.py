"""Charts of a training log and of the guidance of trajectories."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from multigen.evaluation.html_report import svg
from multigen.evaluation.html_report.log import Log, held_out, numbers
from multigen.evaluation.html_report.points import Point, finite, smooth, thin


def training_section(log: Log, levels: Sequence[Point], trained: str) -> dict[str, Any]:
    """The template's training charts, and the number of losses that they leave out.

    levels   held-out loss by noise level: (log(sigma/alpha), loss)
    trained  name of the training losses by noise level
    """
    losses = [row["loss"] for row in log if isinstance(row.get("loss"), float)]
    return {
        "loss": _loss_chart(log),
        "held": _held_out_chart(log),
        "not_finite": sum(1 for loss in losses if not math.isfinite(loss)),
        "small": _small_charts(log),
        "levels": _level_chart(levels, _trained_by_level(log), trained),
    }


def _smoothed(points: Sequence[Point]) -> list[Point]:
    return smooth(points, max(len(points) // 40, 1))


def _loss_chart(log: Log) -> Markup | None:
    losses = finite(numbers(log, "loss"), above=0)
    series = [
        svg.Series("loss", "raw", thin(losses, 300)),
        svg.Series("smoothed loss", "smoothed", thin(_smoothed(losses), 150)),
    ]
    return _log_chart(series, "Loss by training step", "step")


def _held_out_chart(log: Log) -> Markup | None:
    """What was trained on beside what was held out, measured alike: the training loss is on a scale of its own."""
    series = [
        svg.Series("loss of media trained on", "seen", held_out(log, "seen"), "both"),
        svg.Series("held-out loss", "held", held_out(log), "both"),
    ]
    return _log_chart(series, "Loss of media trained on and held out, by training step", "step")


def _trained_by_level(log: Log) -> list[Point]:
    """(log(sigma/alpha), loss): means over the last tenth of the rows that have training losses by level."""
    rows = [row["levels"] for row in log if isinstance(row.get("levels"), Mapping)]
    rows = rows[-max(len(rows) // 10, 1) :]
    found: dict[float, list[float]] = {}
    for row in rows:
        for level, loss in row.items():
            found.setdefault(float(level), []).append(float(loss))
    return [(level, statistics.fmean(losses)) for level, losses in found.items()]


def _level_chart(levels: Sequence[Point], trained: Sequence[Point], name: str) -> Markup | None:
    held, seen = (sorted(finite(points, above=0)) for points in (levels, trained))
    series = [
        svg.Series("held-out loss", "level", held, "both"),
        svg.Series(name, "raw", seen, "both"),
    ]
    return _log_chart(series, "Loss by noise level", "log(sigma / alpha)")


def _log_chart(series: Sequence[svg.Series], title: str, x_label: str) -> Markup | None:
    series = [s for s in series if s.points]
    return Markup(svg.chart(series, title=title, x_label=x_label, log=True)) if series else None


def _small_charts(log: Log) -> list[tuple[str, Markup]]:
    wanted = {"learning rate": "lr", "gradient norm": "grad_norm", "items per second": "items_per_s"}
    found = []
    for name, key in wanted.items():
        points = thin(numbers(log, key), 150)
        if len(points) > 1:
            found.append((name, small_chart(name, f"{name} by step", points, "step")))
    return found


def small_chart(name: str, title: str, points: Sequence[Point], x_label: str) -> Markup:
    """A small chart of one curve."""
    series = [svg.Series(name, "smoothed", points)]
    return Markup(svg.chart(series, title=title, x_label=x_label, width=360, height=190))


def guidance_charts(guidance: Sequence[tuple[str, Sequence[Point]]]) -> list[tuple[str, Markup]]:
    """A small chart for each trajectory: how far guidance moved the estimate of x0 at each t."""
    found = []
    for name, all_points in guidance:
        points = finite(all_points)
        if len(points) > 1:
            title = f"trajectory {name}"
            found.append((title, small_chart(title, f"guidance of {title} by t", points, "t")))
    return found
