"""Grids spaced in noise level, r = sigma/alpha: karras, exponential and log_snr."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import check_steps, noise_range, times_of_ratios


def _spaced(
    schedule: Schedule,
    steps: int,
    sigma_min: float | None,
    sigma_max: float | None,
    to: Callable[[float], float],
    back: Callable[[Tensor], Tensor],
    from_pure: bool,
) -> Tensor:
    """Times whose r is evenly spaced in `to(r)`; `back` is the inverse."""
    check_steps(steps)
    low, high, pure = noise_range(schedule, sigma_min, sigma_max)
    pure = pure and from_pure
    count = steps - 1 if pure else steps
    spaced = torch.linspace(to(high), to(low), count, dtype=torch.float64)
    return times_of_ratios(schedule, back(spaced), pure)


def karras(
    schedule: Schedule,
    steps: int,
    *,
    rho: float = 7.0,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    from_pure: bool = True,
) -> Tensor:
    """Space r^(1/rho) evenly, then t = 0 (Karras et al. 2022, arXiv:2206.00364, eq. 5).

    from_pure  t = 1 comes first where the schedule starts at alpha = 0; False: sigma_max, as other tools have it

    Raises ValueError for bounds of r that the schedule does not reach.
    """
    return _spaced(
        schedule, steps, sigma_min, sigma_max, lambda r: r ** (1 / rho), lambda u: u**rho, from_pure
    )


def exponential(
    schedule: Schedule,
    steps: int,
    *,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    from_pure: bool = True,
) -> Tensor:
    """Let r fall geometrically to sigma_min, which is evenly spaced log-SNR, then t = 0.

    `from_pure` and errors as for `karras`.
    """
    return _spaced(schedule, steps, sigma_min, sigma_max, math.log, torch.exp, from_pure)


def log_snr(schedule: Schedule, steps: int, *, low: float = -9.2, high: float = 12.4) -> Tensor:
    """Space the log-SNR evenly between two bounds, then t = 0 (Lu et al. 2022, arXiv:2206.00927, section 3.3).

    Bounds beyond the schedule's range are moved to its ends. Raises ValueError unless low < high.
    """
    if not low < high:
        raise ValueError(f"timesteps log_snr needs low < high, not {low} and {high}")
    least, largest, _ = noise_range(schedule)
    large, small = min(math.exp(-low / 2), largest), max(math.exp(-high / 2), least)
    return exponential(schedule, steps, sigma_min=small, sigma_max=large)
