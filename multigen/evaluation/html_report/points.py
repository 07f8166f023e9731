"""Points of a curve: leave out what is not finite, smooth, thin."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]


def finite(points: Sequence[Point], *, above: float = -math.inf) -> list[Point]:
    """The points whose coordinates are finite and whose y is greater than `above`."""
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and y > above]


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Geometric moving mean of positive y over `window` points on each side.

    Near the start the window shrinks on both sides, so that a steep fall is not flattened. Near the end it shrinks on
    the right side only.
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
    """About 2 * `count` points at most: the lowest and the highest of each stretch, so that no spike is lost."""
    if len(points) <= 2 * count:
        return list(points)
    out: list[Point] = []
    for k in range(count):
        part = points[k * len(points) // count : (k + 1) * len(points) // count]
        low, high = min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])
        out += sorted({low, high})
    return out
