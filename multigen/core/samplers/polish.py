"""Polish: the network looks once more at a finished sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import Trajectory, levels
from multigen.core.schedules import Schedule


def polish_time(schedule: Schedule, noise: float) -> Tensor:
    """t [] of sigma/alpha = `noise`. ValueError for a level that the schedule does not have."""
    t = schedule.inverse(torch.tensor(-2 * math.log(noise), dtype=torch.float64))
    found = math.exp(-float(schedule.log_snr(t)) / 2)
    if not math.isclose(found, noise, rel_tol=1e-3):
        far = schedule.inverse(torch.tensor([1e3, -1e3], dtype=torch.float64))
        ends = schedule.log_snr(far).div(-2).exp().tolist()
        raise ValueError(
            f"{noise:g} is no sigma/alpha of this schedule. Allowed: {ends[0]:.3g} to {ends[1]:.3g}"
        )
    return t


def polished(trajectory: Trajectory, schedule: Schedule, *, passes: int, noise: float) -> Trajectory:
    """A trajectory, then `passes` times x <- x0(alpha x, t), at the t where sigma/alpha = `noise`.

    No noise is added, though the network is told of some: what of x it holds for noise, such as the faint texture
    that a small network leaves on flat areas, goes, and detail that it cannot explain goes with it. It is the last,
    denoising step of Song et al. 2021 (arXiv:2011.13456, appendix G), repeated, at a level above the sample's own.
    """
    x = yield from trajectory
    if passes:
        t = polish_time(schedule, noise)
        alpha = levels(schedule, t.reshape(1))[0][0]
        for _ in range(passes):
            x = yield Query(x * alpha, t)
    return x
