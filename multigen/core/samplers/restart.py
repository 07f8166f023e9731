"""Restart: down, up again by fresh noise, and down once more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.core.samplers.heun import heun
from multigen.core.samplers.steps import NoiseSource, Trajectory, renoise
from multigen.core.schedules import Schedule
from multigen.core.timesteps import reach

RHO = 7.0  # spacing of the way down, as of `timesteps.karras`


def restart(
    schedule: Schedule,
    x: Tensor,
    ts: Tensor,
    noise: NoiseSource,
    *,
    low: float = 0.06,
    high: float = 0.3,
    steps: int = 4,
    repeats: int = 2,
) -> Trajectory:
    """Restart sampling (Xu et al. 2023, arXiv:2306.14878, algorithm 1) with `heun`.

    Where the grid comes down to sigma/alpha = low (a point is added there), noise lifts x to sigma/alpha = high, and
    `steps` further steps bring it down again; so `repeats` times. Both are drawn in to what the schedule and the grid
    reach; a grid that has no way from high to low is walked as by `heun`.
    """
    if not (0 < low < high < math.inf and steps >= 1 and repeats >= 0):
        raise ValueError(
            "sampler restart needs 0 < low < high, steps >= 1 and repeats >= 0; given: "
            f"low={low}, high={high}, steps={steps}, repeats={repeats}"
        )
    above, again, below = _parts(schedule, ts.double(), low, high, steps)
    x = yield from heun(schedule, x, above, noise)
    if len(again):
        for k in range(repeats):
            x = renoise(schedule, x, again[-1], again[0], noise("restart", k))
            x = yield from heun(schedule, x, again, noise)
    return (yield from heun(schedule, x, below, noise))


def _parts(
    schedule: Schedule, ts: Tensor, low: float, high: float, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The grid down to low, that from high to low, and the rest of the grid."""
    ratios = torch.exp(schedule.log_snr(ts) / -2)
    low, high = max(low, reach(schedule)[0]), min(high, ratios[0].item())
    if not ratios[-1].item() < low < high:
        return ts, ts[:0], ts[-1:]
    roots = torch.linspace(high ** (1 / RHO), low ** (1 / RHO), steps + 1, dtype=torch.float64)
    again = schedule.inverse(-2 * RHO * torch.log(roots))
    turn = again[-1:]
    return torch.cat([ts[ts > turn], turn]), again, torch.cat([turn, ts[ts < turn]])
