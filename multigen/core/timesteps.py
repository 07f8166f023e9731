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
CLEAN_RATIO = 0.002


def _check(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")


def uniform(schedule: Schedule, steps: int) -> Tensor:
    """Evenly spaced in t from 1 to 0."""
    _check(steps)
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def _bounds(schedule: Schedule, sigma_min: float | None, sigma_max: float | None) -> tuple[float, float, bool]:
    """Smallest and largest sigma/alpha of the grid, and whether t = 1 (alpha = 0) must precede it."""
    top = schedule.log_snr(torch.ones(1, dtype=torch.float64)).item()
    pure = math.isinf(top)
    if sigma_max is None:
        sigma_max = PURE_NOISE_RATIO if pure else math.exp(-top / 2)
    if sigma_min is None:
        near = schedule.log_snr(torch.full((1,), 1e-9, dtype=torch.float64)).item()
        sigma_min = max(CLEAN_RATIO, math.exp(-near / 2)) if math.isfinite(near) else CLEAN_RATIO
        if schedule.steps:  # a table begins at its first index
            first = schedule.log_snr(torch.full((1,), 1 / schedule.steps, dtype=torch.float64)).item()
            sigma_min = math.exp(-first / 2)
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"timesteps need 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}")
    return sigma_min, sigma_max, pure


def _from_ratios(schedule: Schedule, ratios: Tensor, pure: bool) -> Tensor:
    """t of falling sigma/alpha, with t = 1 in front where the schedule starts at alpha = 0, and t = 0 behind."""
    inside = schedule.inverse(-2 * torch.log(ratios))
    head = torch.ones(1 if pure else 0, dtype=torch.float64)
    if not pure:
        inside[0] = inside[0].clamp(max=1.0)
    return torch.cat([head, inside, torch.zeros(1, dtype=torch.float64)])


def _spaced(
    schedule: Schedule,
    steps: int,
    sigma_min: float | None,
    sigma_max: float | None,
    to: Callable[[float], float],
    back: Callable[[Tensor], Tensor],
) -> Tensor:
    """Ratios evenly spaced in `to(ratio)`."""
    _check(steps)
    low, high, pure = _bounds(schedule, sigma_min, sigma_max)
    count = steps - 1 if pure else steps
    spaced = torch.linspace(to(high), to(low), max(count, 0), dtype=torch.float64)
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
    first, last, _ = _bounds(schedule, None, None)
    large, small = min(math.exp(-low / 2), last), max(math.exp(-high / 2), first)
    return exponential(schedule, steps, sigma_min=small, sigma_max=large)


def _table_steps(schedule: Schedule, name: str) -> int:
    if schedule.steps is None:
        raise ValueError(f"timesteps {name} space the indices of a table; this schedule has none: use uniform")
    return schedule.steps


def trailing(schedule: Schedule, steps: int) -> Tensor:
    """Table indices N-1, N-1-N/n, ..., then t = 0, as diffusers' `trailing` (Lin et al. 2023, arXiv:2305.08891)."""
    _check(steps)
    n = _table_steps(schedule, "trailing")
    index = torch.arange(n, 0, -n / steps, dtype=torch.float64)[:steps].round() - 1
    return torch.cat([(index + 1) / n, torch.zeros(1, dtype=torch.float64)])


def leading(schedule: Schedule, steps: int, *, offset: int = 0) -> Tensor:
    """Table indices (n-1) N//n, ..., 0, plus `offset`, then t = 0, as diffusers' `leading` (DDIM's own spacing).

    diffusers ends at the table's first alpha instead of at sigma = 0 unless `set_alpha_to_one`.
    """
    _check(steps)
    n = _table_steps(schedule, "leading")
    if steps > n:
        raise ValueError(f"timesteps leading: {steps} steps do not fit a table of {n}")
    index = torch.arange(steps, dtype=torch.float64).flip(0) * (n // steps) + offset
    return torch.cat([((index + 1) / n).clamp(max=1), torch.zeros(1, dtype=torch.float64)])
