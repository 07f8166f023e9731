"""Restart: walk down in noise, go up again with fresh noise, and walk down once more.

    x_high = (alpha_high/alpha_low) x_low + sqrt(sigma_high² - (alpha_high/alpha_low)² sigma_low²) z

between the noise levels sigma/alpha = low and high, `repeats` times (Xu et al. 2023, arXiv:2306.14878,
algorithm 1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.core.samplers.heun import heun
from multigen.core.samplers.steps import NoiseSource, Trajectory, renoise
from multigen.core.samplers.traits import stochastic
from multigen.core.schedules import Schedule
from multigen.core.timesteps import noise_range

RHO = 7.0  # spacing of the repeated steps, as in `timesteps.karras`


@stochastic(deterministic="heun")
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

    low      sigma/alpha at which x goes up again; the grid gets a point there
    high     sigma/alpha that it goes up to
    steps    steps from high back to low
    repeats  how often

    low and high are moved into the range of the schedule and the grid; a grid that does not pass from high to low is
    walked as by `heun`. One without a point between them gets the repeated steps on its first way down, too. Raises
    ValueError for other values out of range.
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
    low, high = max(low, noise_range(schedule).low), min(high, ratios[0].item())
    if not ratios[-1].item() < low < high:
        return ts, ts[:0], ts[-1:]
    roots = torch.linspace(high ** (1 / RHO), low ** (1 / RHO), steps + 1, dtype=torch.float64)
    again = schedule.inverse(-2 * RHO * torch.log(roots))
    turn = again[-1:]
    above = ts[ts > turn]
    # A coarse grid jumps over all of this: then the first walk down takes the same steps as the others. In one step,
    # Heun's correction would enlarge the difference of two x0 by the ratio of the noises.
    first = 1 if bool(above[-1] <= again[0]) else 0
    down = turn if bool((above < again[0]).any()) else again[first:]
    return torch.cat([above, down]), again, torch.cat([turn, ts[ts < turn]])
