"""Axes of a chart: the range that they span, their ticks and the numbers beside these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from multigen.evaluation.html_report.points import Point

LEFT, RIGHT, TOP, BOTTOM = 62, 26, 12, 42  # margins, in units of the SVG's view box


@dataclass(frozen=True)
class Frame:
    """The plotting area of a chart.

    width, height  size of the whole picture, in units of the view box
    xs, ys         range of each axis
    log            whether y is logarithmic
    """

    width: int
    height: int
    xs: Point
    ys: Point
    log: bool

    @property
    def right(self) -> int:
        """The x coordinate of the right edge."""
        return self.width - RIGHT

    @property
    def base(self) -> int:
        """The y coordinate of the x axis."""
        return self.height - BOTTOM

    def place(self, x: float, y: float) -> Point:
        """Map a data point to view box coordinates."""
        forward = math.log if self.log else float
        across = (x - self.xs[0]) / (self.xs[1] - self.xs[0])
        up = (forward(y) - forward(self.ys[0])) / (forward(self.ys[1]) - forward(self.ys[0]))
        return LEFT + across * (self.right - LEFT), self.base - up * (self.base - TOP)


def number(value: float) -> str:
    """Format a number for an axis or a tile: 1,000 · 0.25 · 3e-05."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def span(values: Sequence[float]) -> Point:
    """Lowest and highest value; widened if the two are equal."""
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) * 0.05 or 1.0
        return low - room, high + room
    return low, high


def log_span(values: Sequence[float]) -> Point:
    """Lowest and highest positive value, with a margin in log space; never empty."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.05, 1.02)
    return low / room, high * room


def span_from_zero(values: Sequence[float], most: int) -> Point:
    """Zero to the first round value beyond the data: without zero, small ripples look like large waves."""
    low, high = span([*values, 0.0])
    step = _step(low, high, most)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values within the range, about `most` of them."""
    step = _step(low, high, most)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within the range.

    Powers of ten alone where the range spans many decades, evenly spaced values where it spans a fraction of one.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    several = (1, 2, 5) if len(decades) <= 5 else (1,)
    found = [m * 10.0**k for k in decades for m in several if low <= m * 10.0**k <= high]
    return found if len(found) >= 3 else ticks(low, high, 5)


def _step(low: float, high: float, most: int) -> float:
    """A round step (1, 2 or 5 times a power of ten) that fits at most `most` times between low and high."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
