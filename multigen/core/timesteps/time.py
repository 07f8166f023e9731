"""Grids spaced in t: uniform and quadratic."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import check_steps, times_of_shares


def uniform(schedule: Schedule, steps: int) -> Tensor:
    """Space t evenly from 1 to 0."""
    check_steps(steps)
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def quadratic(schedule: Schedule, steps: int) -> Tensor:
    """Space sqrt(t) evenly from 1 to 0: more steps near the data.

    Song et al. 2021 (arXiv:2010.02502), appendix D.3. On a table, indices are evenly spaced in their square root from
    N - 1 to 0, and t = 0 follows.
    """
    check_steps(steps)
    return times_of_shares(schedule, steps, torch.square)
