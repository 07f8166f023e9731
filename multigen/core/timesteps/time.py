"""Grids spaced in t: uniform and quadratic."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import TINY, check_steps, times_of_shares


def uniform(schedule: Schedule, steps: int, *, of: int | None = None) -> Tensor:
    """Space t evenly from 1 to 0.

    of  take every (of // steps)-th of so many evenly spaced times from t = 1, then t = 0, as consistency models do
        (Song et al. 2023, arXiv:2303.01469, section 3); None: n steps of equal length

    Raises ValueError for an `of` below 2, or below the steps.
    """
    check_steps(steps)
    if of is not None:
        if not max(steps, 2) <= of:
            raise ValueError(
                f"timesteps uniform: of: {of} is not allowed. Allowed: {max(steps, 2)} or more, the steps"
            )
        inside = 1 - torch.arange(steps, dtype=torch.float64) * (of // steps) / (of - 1)
        return torch.cat([inside.clamp_min(TINY), torch.zeros(1, dtype=torch.float64)])
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def quadratic(schedule: Schedule, steps: int) -> Tensor:
    """Space sqrt(t) evenly from 1 to 0: more steps near the data.

    Song et al. 2021 (arXiv:2010.02502), appendix D.3. On a table, indices are evenly spaced in their square root from
    N - 1 to 0, and t = 0 follows.
    """
    check_steps(steps)
    return times_of_shares(schedule, steps, torch.square)
