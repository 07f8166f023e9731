"""Grids of a table's indices, spaced as diffusers spaces them: trailing and leading."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import table_length


def trailing(schedule: Schedule, steps: int) -> Tensor:
    """Take table indices N - 1, N - 1 - N/n, ..., then t = 0 (Lin et al. 2023, arXiv:2305.08891, section 3.3).

    Raises ValueError for a schedule without a table, or with one that is shorter than `steps`.
    """
    n = table_length(schedule, steps, "trailing")
    index = torch.arange(n, 0, -n / steps, dtype=torch.float64)[:steps].round() - 1
    return torch.cat([(index + 1) / n, torch.zeros(1, dtype=torch.float64)])


def leading(schedule: Schedule, steps: int, *, offset: int = 0, to_zero: bool = True) -> Tensor:
    """Take table indices (n - 1) (N//n), ..., 0, plus `offset`, then t = 0: DDIM's own spacing.

    offset   added to every index; diffusers' `steps_offset`
    to_zero  end at sigma = 0; False: end at the table's first index, as diffusers does where `set_alpha_to_one` is
             false, which needs an offset of 1 or more

    Raises ValueError as for `trailing`, and for an offset that does not fit.
    """
    n = table_length(schedule, steps, "leading")
    room = n - 1 - (steps - 1) * (n // steps)
    if not 0 <= offset <= room:
        raise ValueError(
            f"timesteps leading: {steps} steps of a table of {n} leave an offset of 0 to {room}, not {offset}"
        )
    if not to_zero and offset == 0:
        raise ValueError(
            "timesteps leading: at offset 0 the grid already ends at the table's first index; give an offset of 1 "
            "or more, or to_zero=true"
        )
    index = torch.arange(steps, dtype=torch.float64).flip(0) * (n // steps) + offset
    end = torch.full((1,), 0.0 if to_zero else 1 / n, dtype=torch.float64)
    return torch.cat([(index + 1) / n, end])
