"""Grids from numbers in a recipe: a list as it is, or a table spread over any number of steps."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import check_steps, noise_range, table_length, times_of_ratios

Unit: TypeAlias = Literal["t", "sigma", "log_snr", "index"]


def listed(schedule: Schedule, steps: int, *, values: tuple[float, ...], of: Unit = "t") -> Tensor:
    """Use the given times as they are, then t = 0.

    values  falling t, sigma (meaning sigma/alpha) or table indices, or rising log_snr; a last 0 of t or sigma is
            optional
    of      what the values are

    Raises ValueError if they are not `steps` numbers, do not fall towards the data, or lie outside the schedule.
    """
    ts = _times(schedule, values, of, "list")
    if len(ts) != steps + 1:
        raise ValueError(
            f"timesteps list holds {len(ts) - 1} steps, not {steps}. Ask for {len(ts) - 1}, or use timesteps table, "
            "which spreads its numbers over any count"
        )
    return ts


def table(schedule: Schedule, steps: int, *, values: tuple[float, ...], of: Unit = "sigma") -> Tensor:
    """Spread a table made for one number of steps over another: log-linear in sigma/alpha, then t = 0.

    This is how Sabour et al. 2024 (arXiv:2404.14507) interpolate their tables. `values`, `of` and errors are as for
    `listed`; a table too short for the steps raises ValueError, too.
    """
    check_steps(steps)
    inside = _times(schedule, values, of, "table")[:-1]
    logs = schedule.log_snr(inside) / -2
    pure = bool(torch.isinf(logs[0]))
    logs, count = logs[int(pure) :], steps - int(pure)
    if len(logs) < min(count, 2):
        raise ValueError(
            f"timesteps table: {len(values)} numbers cannot be spread over {steps} steps; give more"
        )
    place = torch.linspace(0, max(len(logs) - 1, 0), count, dtype=torch.float64)
    left = place.long().clamp(max=max(len(logs) - 2, 0))
    right = (left + 1).clamp(max=len(logs) - 1)
    return times_of_ratios(schedule, torch.exp(torch.lerp(logs[left], logs[right], place - left)), pure)


def _times(schedule: Schedule, values: tuple[float, ...], of: Unit, name: str) -> Tensor:
    """The times of a list of numbers, t = 0 behind them. ValueError as for `listed`."""
    given = torch.tensor(values, dtype=torch.float64)
    if of == "t":
        ts = given
    elif of == "index":
        n = table_length(schedule, 1, name)
        ts = torch.where(given >= 0, (given + 1) / n, torch.nan)
    else:
        snr = given if of == "log_snr" else -2 * torch.log(given)
        ts = torch.where(torch.isposinf(snr), 0.0, schedule.inverse(snr.clamp(-1e3, 1e3)))
        found = schedule.log_snr(ts)
        # `inverse` clamps levels out of range, so they come back changed. Published numbers are rounded. sigma = 0 is
        # t = 0.
        ts = torch.where((found - snr).abs() < 1e-2, ts, torch.where(torch.isposinf(snr), 0.0, torch.nan))
    ts = ts if len(ts) and ts[-1] == 0 else torch.cat([ts, ts.new_zeros(1)])
    if len(ts) < 2 or not bool(((ts >= 0) & (ts <= 1)).all()) or not bool((ts.diff() < 0).all()):
        least, largest, pure = noise_range(schedule)
        raise ValueError(
            f"timesteps {name} needs numbers that fall towards the data, within the schedule: t from 1 to 0, sigma "
            f"from {'infinity' if pure else f'{largest:.4g}'} to {least:.4g}, then 0; given as {of}: {list(values)}"
        )
    return ts
