"""Polish: more denoising passes over a finished sample.

    x <- D(alpha(t) x, t),    t where sigma/alpha = noise

No noise is added, although the network assumes some. What it takes for noise, such as the faint texture that a small
network leaves on flat areas, disappears, together with detail that it cannot explain. This is the last, denoising step
of Song et al. 2021 (arXiv:2011.13456, appendix G), repeated at a noise level above the sample's own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import Trajectory, levels
from multigen.core.schedules import Schedule


def polish_time(schedule: Schedule, noise: float) -> Tensor:
    """Find t (0-d) where sigma/alpha = noise. ValueError for a level that the schedule does not reach."""
    t = schedule.inverse(torch.tensor(-2 * math.log(noise), dtype=torch.float64))
    found = math.exp(-float(schedule.log_snr(t)) / 2)
    if not math.isclose(found, noise, rel_tol=1e-3):
        far = schedule.inverse(torch.tensor([1e3, -1e3], dtype=torch.float64))
        ends = schedule.log_snr(far).div(-2).exp().tolist()
        raise ValueError(
            f"{noise:g} is no sigma/alpha of this schedule. Allowed: {ends[0]:.3g} to {ends[1]:.3g}"
        )
    return t


def polish(trajectory: Trajectory, schedule: Schedule, *, passes: int, noise: float) -> Trajectory:
    """Walk a trajectory, then denoise its sample `passes` times at sigma/alpha = noise."""
    x = yield from trajectory
    if passes:
        t = polish_time(schedule, noise)
        alpha = levels(schedule, t.reshape(1))[0][0]
        for _ in range(passes):
            x = yield Query(x * alpha, t)
    return x
