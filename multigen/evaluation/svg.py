"""Line and bar charts as inline SVG: no script, no font, colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

LEFT, RIGHT, TOP, BOTTOM = 62, 26, 12, 42  # margins, in units of the picture

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Points (x, y) with a name and a CSS class; drawn as a line, as dots, or both."""

    name: str
    style: str
    points: Sequence[Point]
    draw: Literal["line", "dots", "both"] = "line"


def finite(points: Sequence[Point], *, above: float = -math.inf) -> list[Point]:
    """Those of the points whose numbers are finite, and y greater than `above`."""
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and y > above]


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Geometric mean of positive y over `window` points each side.

    Near the start over as many on both sides, so that a steep fall is not flattened; near the end over those
    that there are.
    """
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + math.log(y))
    out = []
    for i, (x, _) in enumerate(points):
        low = i - min(window, i)
        high = min(2 * i - low, len(points) - 1) + 1
        out.append((x, math.exp((sums[high] - sums[low]) / (high - low))))
    return out


def thin(points: Sequence[Point], count: int) -> list[Point]:
    """At most about 2 * count points: of each stretch its lowest and its highest, so that no spike is lost."""
    if len(points) <= 2 * count:
        return list(points)
    out: list[Point] = []
    for k in range(count):
        part = points[k * len(points) // count : (k + 1) * len(points) // count]
        low, high = min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])
        out += sorted({low, high})
    return out


@dataclass(frozen=True)
class Frame:
    """The plane of a chart: its size, and the ranges that its axes span."""

    width: int
    height: int
    xs: Point
    ys: Point
    log: bool

    @property
    def right(self) -> int:
        return self.width - RIGHT

    @property
    def base(self) -> int:
        return self.height - BOTTOM

    def place(self, x: float, y: float) -> Point:
        """Where a point of the data is drawn."""
        forward = math.log if self.log else float
        across = (x - self.xs[0]) / (self.xs[1] - self.xs[0])
        up = (forward(y) - forward(self.ys[0])) / (forward(self.ys[1]) - forward(self.ys[0]))
        return LEFT + across * (self.right - LEFT), self.base - up * (self.base - TOP)


def chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    log: bool = False,
    width: int = 680,
    height: int = 300,
) -> str:
    """One chart of all series as an <svg> element; y is logarithmic if `log` (then all y must be positive).

    ValueError if there is no point at all.
    """
    points = [p for s in series for p in s.points]
    if not points:
        raise ValueError("chart: there is nothing to draw")
    ys = [y for _, y in points]
    ys = _log_range(ys) if log else _from_zero(ys, height // 60)
    frame = Frame(width, height, _range([x for x, _ in points]), ys, log)
    body = [*_grid(frame, x_label)]
    for one in series:
        body += _drawn(one, frame)
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


@dataclass(frozen=True)
class Bar:
    """One bar of `bar_chart`."""

    name: str
    value: float


def bar_chart(bars: Sequence[Bar], *, title: str, width: int = 680) -> str:
    """Horizontal bars from 0 to 1 with their names and numbers as an <svg>; what is beyond is drawn to the edge.

    ValueError if there is no bar.
    """
    if not bars:
        raise ValueError("bar_chart: there is nothing to draw")
    left, right, step = 190, 70, 26
    height = TOP + step * len(bars) + 26
    span, base = width - left - right, TOP + step * len(bars)
    body = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = left + share * span
        body.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{base}"/>')
        body.append(f'<text class="tick" x="{x:.1f}" y="{base + 18}">{share:g}</text>')
    for k, bar in enumerate(bars):
        y, long = TOP + step * k + 4, max(0.0, min(1.0, bar.value)) * span
        body.append(f'<text class="end" x="{left - 10}" y="{y + 13}">{escape(bar.name)}</text>')
        body.append(f'<rect class="bar" x="{left}" y="{y}" width="{long:.1f}" height="{step - 8}" rx="3"/>')
        body.append(f'<text class="tick start" x="{left + long + 8:.1f}" y="{y + 13}">{bar.value:.2f}</text>')
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def number(value: float) -> str:
    """A number as an axis shows it: 1,000 · 0.25 · 3e-05."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


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
    """Lines and numbers of both axes."""
    base, right = frame.base, frame.right
    out = []
    for value in _log_ticks(*frame.ys) if frame.log else _ticks(*frame.ys, frame.height // 60):
        _, y = frame.place(frame.xs[0], value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick end" x="{LEFT - 8}" y="{y + 4:.1f}">{number(value)}</text>')
    for value in _ticks(*frame.xs, frame.width // 95):
        x, _ = frame.place(value, frame.ys[0])
        out.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}"/>')
        out.append(f'<text class="tick" x="{x:.1f}" y="{base + 19}">{number(value)}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + right) / 2
    out.append(f'<text class="label" x="{middle}" y="{frame.height - 5}">{escape(x_label)}</text>')
    return out


def _log_range(values: Sequence[float]) -> Point:
    """Lowest and highest with a little room, as a factor; never empty."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.05, 1.02)
    return low / room, high * room


def _from_zero(values: Sequence[float], most: int) -> Point:
    """Zero (so that the eye does not take a ripple for a wave) to the next round value beyond the data."""
    low, high = _range([*values, 0.0])
    step = _step(low, high, most)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _range(values: Sequence[float]) -> Point:
    """Lowest and highest; never empty."""
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) * 0.05 or 1.0
        return low - room, high + room
    return low, high


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round values within the range, about `most` of them."""
    step = _step(low, high, most)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _step(low: float, high: float, most: int) -> float:
    """A round distance (1, 2 or 5 times a power of ten) that fits at most `most` times between low and high."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within the range; powers alone over many decades, even steps over few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    several = (1, 2, 5) if len(decades) <= 5 else (1,)
    ticks = [m * 10.0**k for k in decades for m in several if low <= m * 10.0**k <= high]
    return ticks if len(ticks) >= 3 else _ticks(low, high, 5)
