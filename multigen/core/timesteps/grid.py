"""What all grids share: their bounds, and times of noise levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from multigen.core.schedules import Schedule

Timesteps: TypeAlias = Callable[[Schedule, int], Tensor]

# Where a schedule reaches pure noise, grids in noise level begin at this sigma/alpha, after t = 1 itself.
PURE_NOISE_RATIO = 100.0
# Where sigma/alpha glides to 0, grids in noise level end at this sigma/alpha, before t = 0 itself.
CLEAN_RATIO = 0.002
TINY = 1e-9  # the nearest that t comes to 0 without being 0
SLACK = 1e-6  # how far rounding may carry a bound beyond the schedule's range
MAX_STEPS = 100_000  # no sampler gains from more, and a grid of them still fits in memory


class NoiseRange(NamedTuple):
    """The noise levels of a grid: smallest and largest sigma/alpha, and whether t = 1 (alpha = 0) must come first."""

    low: float
    high: float
    pure: bool


def check_steps(steps: int) -> None:
    """Raise ValueError for a number of steps that no grid has."""
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps must be 1 to {MAX_STEPS:,}, not {steps}")


def noise_range(
    schedule: Schedule, sigma_min: float | None = None, sigma_max: float | None = None
) -> NoiseRange:
    """Find the bounds of a grid in noise level; None takes the schedule's own bound.

    Raises ValueError for bounds that the schedule does not reach.
    """
    # A table begins at its first index; t = TINY is the other schedules' limit at the data.
    points = torch.tensor([1.0, TINY, 1 / (schedule.steps or 1)], dtype=torch.float64)
    top, limit, first = torch.exp(schedule.log_snr(points) / -2).tolist()
    pure = math.isinf(top)
    # sigma of a variance-exploding schedule jumps to 0 from sigma_min; that of the others glides there.
    glides = schedule.family != "ve"
    lowest = first if schedule.steps else max(CLEAN_RATIO, limit) if glides else limit
    low = lowest if sigma_min is None else sigma_min
    high = sigma_max if sigma_max is not None else PURE_NOISE_RATIO if pure else top
    if not (limit * (1 - SLACK) <= low < high <= top * (1 + SLACK)):
        raise ValueError(
            f"timesteps need sigma_min < sigma_max within this schedule's sigma/alpha, {limit:.4g} to "
            f"{top:.4g}; given: {low:.4g} and {high:.4g}"
        )
    return NoiseRange(low, high, pure)


def times_of_ratios(schedule: Schedule, ratios: Tensor, pure: bool) -> Tensor:
    """Turn falling sigma/alpha into times: t = 1 in front if `pure`, t = 0 behind."""
    inside = schedule.inverse(-2 * torch.log(ratios))
    return torch.cat([inside.new_ones(1 if pure else 0), inside, inside.new_zeros(1)])


def times_of_shares(schedule: Schedule, steps: int, share: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute t = share(u), u evenly spaced from 1 to 0; on a table from index N - 1 to index 0, then t = 0."""
    if schedule.steps is None:
        return share(torch.linspace(1, 0, steps + 1, dtype=torch.float64))
    first = 1 / schedule.steps
    inside = first + (1 - first) * share(torch.linspace(1, 0, steps, dtype=torch.float64))
    return torch.cat([inside, inside.new_zeros(1)])


def table_length(schedule: Schedule, steps: int, name: str) -> int:
    """Return the length N of the schedule's table. ValueError if there is none, or if N is below `steps`."""
    check_steps(steps)
    if schedule.steps is None:
        raise ValueError(
            f"timesteps {name} space the indices of a table, and this schedule has none: use uniform"
        )
    if steps > schedule.steps:
        raise ValueError(f"timesteps {name}: {steps} steps do not fit a table of {schedule.steps}")
    return schedule.steps
