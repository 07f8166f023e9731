"""Line charts as inline SVG: no script, no font; colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from multigen.evaluation.html_report import axes
from multigen.evaluation.html_report.axes import LEFT, Frame, number
from multigen.evaluation.html_report.points import Point


@dataclass(frozen=True)
class Series:
    """Points (x, y) with a name and a CSS class; drawn as a line, as dots, or both."""

    name: str
    style: str
    points: Sequence[Point]
    draw: Literal["line", "dots", "both"] = "line"


def chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    log: bool = False,
    width: int = 680,
    height: int = 300,
) -> str:
    """One chart of all series as an <svg> element.

    log: logarithmic y axis; then every y must be positive

    ValueError if there are no points.
    """
    points = [p for s in series for p in s.points]
    if not points:
        raise ValueError("chart: there are no points to draw")
    ys = [y for _, y in points]
    y_span = axes.log_span(ys) if log else axes.span_from_zero(ys, height // 60)
    frame = Frame(width, height, axes.span([x for x, _ in points]), y_span, log)
    body = [*_grid(frame, x_label)]
    for one in series:
        body += _drawn(one, frame)
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def _drawn(one: Series, frame: Frame) -> list[str]:
    spots = [frame.place(x, y) for x, y in one.points]
    out = []
    if one.draw != "dots" and len(spots) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        out.append(f'<polyline class="line {one.style}" points="{path}"/>')
    if one.draw != "line" or len(spots) == 1:
        for (x, y), (a, b) in zip(spots, one.points, strict=True):
            hint = f"<title>{escape(one.name)}: {number(b)} at {number(a)}</title>"
            out.append(f'<circle class="dot {one.style}" cx="{x:.1f}" cy="{y:.1f}" r="4">{hint}</circle>')
    return out


def _grid(frame: Frame, x_label: str) -> list[str]:
    """Grid lines and tick labels of both axes."""
    base, right = frame.base, frame.right
    out = []
    for value in axes.log_ticks(*frame.ys) if frame.log else axes.ticks(*frame.ys, frame.height // 60):
        _, y = frame.place(frame.xs[0], value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick end" x="{LEFT - 8}" y="{y + 4:.1f}">{number(value)}</text>')
    for value in axes.ticks(*frame.xs, frame.width // 95):
        x, _ = frame.place(value, frame.ys[0])
        out.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}"/>')
        out.append(f'<text class="tick" x="{x:.1f}" y="{base + 19}">{number(value)}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + right) / 2
    out.append(f'<text class="label" x="{middle}" y="{frame.height - 5}">{escape(x_label)}</text>')
    return out
