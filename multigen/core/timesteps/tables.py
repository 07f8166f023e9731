"""Grids of a table's indices, spaced as diffusers spaces them: trailing, leading and linspace."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import table_length


def trailing(schedule: Schedule, steps: int, *, of: int | None = None) -> Tensor:
    """Take table indices N - 1, N - 1 - N/n, ..., then t = 0 (Lin et al. 2023, arXiv:2305.08891, section 3.3).

    of  take them among that many evenly spaced indices, as consistency distillation does (Luo et al. 2023,
        arXiv:2310.04378, section 4.3); None: among all

    Raises ValueError for a schedule without a table, or with one (or an `of`) that is shorter than `steps`.
    """
    n = table_length(schedule, steps, "trailing")
    if of is None:
        index = torch.arange(n, 0, -n / steps, dtype=torch.float64)[:steps].round() - 1
    elif not steps <= of <= n:
        raise ValueError(f"timesteps trailing: of: {of} is not allowed. Allowed: {steps} (the steps) to {n}")
    else:
        place = torch.linspace(0, of, steps + 1, dtype=torch.float64)[:-1].floor()
        index = (of - place) * (n // of) - 1
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


def linspace(schedule: Schedule, steps: int, *, closed: bool = True, whole: bool = False) -> Tensor:
    """Space table indices evenly from N - 1, then t = 0; they are fractions where the steps ask for it.

    closed  the last step is at index 0; False: at (N - 1)/n, as if index 0 followed
    whole   indices are rounded

    Raises ValueError as for `trailing`.
    """
    n = table_length(schedule, steps, "linspace")
    index = torch.linspace(n - 1, 0, steps if closed else steps + 1, dtype=torch.float64)[:steps]
    index = index.round() if whole else index
    return torch.cat([(index + 1) / n, torch.zeros(1, dtype=torch.float64)])
