"""The grid of Movie Gen (Polyak et al. 2024, arXiv:2410.13720, section 3.4.2), as LTX-Video's conditions walk it."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import check_steps


def linear_quadratic(schedule: Schedule, steps: int, *, threshold: float = 0.025) -> Tensor:
    """Take half of the steps evenly from sigma = 1 to 1 - `threshold`, the others ever larger, quadratically, to 0.

    sigma is that of alpha + sigma = 1. Raises ValueError for a schedule of another family, and unless 0 < threshold
    < 1/2.
    """
    check_steps(steps)
    if schedule.family != "flow":
        raise ValueError("timesteps linear_quadratic space the sigma of a flow, and this schedule is none")
    if not 0 < threshold < 0.5:
        raise ValueError(f"timesteps linear_quadratic need a threshold between 0 and 0.5, not {threshold}")
    half = steps // 2
    i = torch.arange(steps, dtype=torch.float64)
    if half:
        rest = (half - threshold * steps) / (steps - half) ** 2
        curve = rest / half * (i**2 + half**2) + (threshold / half - 2 * rest) * i
        sigma = 1 - torch.where(i < half, threshold / half * i, curve)
    else:
        sigma = torch.ones(steps, dtype=torch.float64)
    inside = schedule.inverse((2 * (torch.log1p(-sigma) - torch.log(sigma))).clamp_min(-1e3))
    return torch.cat([torch.where(sigma >= 1, 1.0, inside), inside.new_zeros(1)])
