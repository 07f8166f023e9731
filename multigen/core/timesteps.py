"""Timesteps: the grid t_0 > ... > t_n that a sampler walks, float64 [n+1] on the CPU.

`steps` is n, the number of sampler steps. Grids in noise level have finite bounds and then append t = 1 and t = 0
where the schedule needs them (alpha = 0 at t = 1, sigma = 0 at t = 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from multigen.core.schedules import Schedule

Timesteps: TypeAlias = Callable[[Schedule, int], Tensor]

# Where a schedule reaches pure noise, log-SNR grids begin here, after t = 1 itself.
PURE_NOISE_RATIO = 100.0
# Where sigma/alpha glides to 0, log-SNR grids end here, before t = 0 itself.
CLEAN_RATIO = 0.002
# As near as t comes to 0 without being it; and how far a bound may exceed the schedule's reach by rounding.
TINY = 1e-9
SLACK = 1e-6


def _check(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")


def uniform(schedule: Schedule, steps: int) -> Tensor:
    """Evenly spaced in t from 1 to 0."""
    _check(steps)
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def _bounds(
    schedule: Schedule, sigma_min: float | None, sigma_max: float | None
) -> tuple[float, float, bool]:
    """Smallest and largest sigma/alpha of the grid, and whether t = 1 (alpha = 0) must precede it."""
    # A table begins at its first index; t = TINY is the other schedules' limit at the data.
    points = torch.tensor([1.0, TINY, 1 / (schedule.steps or 1)], dtype=torch.float64)
    top, limit, first = torch.exp(schedule.log_snr(points) / -2).tolist()
    pure = math.isinf(top)
    # sigma of a variance-exploding schedule jumps to 0 from its own least; that of the others glides there.
    glides = schedule.family != "ve"
    lowest = first if schedule.steps else max(CLEAN_RATIO, limit) if glides else limit
    low = lowest if sigma_min is None else sigma_min
    high = sigma_max if sigma_max is not None else PURE_NOISE_RATIO if pure else top
    if not (limit * (1 - SLACK) <= low < high <= top * (1 + SLACK)):
        raise ValueError(
            f"timesteps need sigma_min < sigma_max within this schedule's sigma/alpha, {limit:.4g} to "
            f"{top:.4g}; given: {low:.4g} and {high:.4g}"
        )
    return low, high, pure


def _from_ratios(schedule: Schedule, ratios: Tensor, pure: bool) -> Tensor:
    """t of falling sigma/alpha, with t = 1 in front where the schedule starts at alpha = 0, and t = 0 behind."""
    inside = schedule.inverse(-2 * torch.log(ratios))
    return torch.cat([inside.new_ones(1 if pure else 0), inside, inside.new_zeros(1)])


def _spaced(
    schedule: Schedule,
    steps: int,
    sigma_min: float | None,
    sigma_max: float | None,
    to: Callable[[float], float],
    back: Callable[[Tensor], Tensor],
) -> Tensor:
    """Ratios evenly spaced in `to(ratio)`; ValueError for bounds that the schedule does not reach."""
    _check(steps)
    low, high, pure = _bounds(schedule, sigma_min, sigma_max)
    count = steps - 1 if pure else steps
    spaced = torch.linspace(to(high), to(low), count, dtype=torch.float64)
    return _from_ratios(schedule, back(spaced), pure)


def karras(
    schedule: Schedule,
    steps: int,
    *,
    rho: float = 7.0,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
) -> Tensor:
    """(sigma/alpha)^(1/rho) evenly spaced, then 0 (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    return _spaced(schedule, steps, sigma_min, sigma_max, lambda r: r ** (1 / rho), lambda u: u**rho)


def exponential(
    schedule: Schedule, steps: int, *, sigma_min: float | None = None, sigma_max: float | None = None
) -> Tensor:
    """sigma/alpha falls geometrically, then 0: evenly spaced in log-SNR down to sigma_min."""
    return _spaced(schedule, steps, sigma_min, sigma_max, math.log, torch.exp)


def log_snr(schedule: Schedule, steps: int, *, low: float = -9.2, high: float = 12.4) -> Tensor:
    """Evenly spaced in log-SNR between two bounds (Lu et al. 2022, arXiv:2206.00927, section 3.3), then t = 0.

    Bounds beyond what the schedule reaches are drawn in to it.
    """
    if not low < high:
        raise ValueError(f"timesteps log_snr needs low < high, not {low} and {high}")
    least, largest, _ = _bounds(schedule, None, None)
    large, small = min(math.exp(-low / 2), largest), max(math.exp(-high / 2), least)
    return exponential(schedule, steps, sigma_min=small, sigma_max=large)


def _table_steps(schedule: Schedule, steps: int, name: str) -> int:
    _check(steps)
    if schedule.steps is None:
        raise ValueError(
            f"timesteps {name} space the indices of a table; this schedule has none: use uniform"
        )
    if steps > schedule.steps:
        raise ValueError(f"timesteps {name}: {steps} steps do not fit a table of {schedule.steps}")
    return schedule.steps


def trailing(schedule: Schedule, steps: int) -> Tensor:
    """Table indices N-1, N-1-N/n, ..., then t = 0, as diffusers' `trailing` (Lin et al. 2023, arXiv:2305.08891)."""
    n = _table_steps(schedule, steps, "trailing")
    index = torch.arange(n, 0, -n / steps, dtype=torch.float64)[:steps].round() - 1
    return torch.cat([(index + 1) / n, torch.zeros(1, dtype=torch.float64)])


def leading(schedule: Schedule, steps: int, *, offset: int = 0, to_zero: bool = True) -> Tensor:
    """Table indices (n-1) N//n, ..., 0, plus `offset`, then t = 0, as diffusers' `leading` (DDIM's own spacing).

    `to_zero: false` ends at the table's first index instead of at sigma = 0, as diffusers does where its
    `set_alpha_to_one` is false; the offset is then at least 1.
    """
    n = _table_steps(schedule, steps, "leading")
    room = n - 1 - (steps - 1) * (n // steps)
    if not 0 <= offset <= room:
        raise ValueError(
            f"timesteps leading: {steps} steps of a table of {n} leave an offset of 0 to {room}, not {offset}"
        )
    if not to_zero and offset == 0:
        raise ValueError(
            "timesteps leading: at offset 0 the grid ends at the table's first index anyway; give an offset of 1 "
            "or more, or to_zero=true"
        )
    index = torch.arange(steps, dtype=torch.float64).flip(0) * (n // steps) + offset
    end = torch.full((1,), 0.0 if to_zero else 1 / n, dtype=torch.float64)
    return torch.cat([(index + 1) / n, end])
