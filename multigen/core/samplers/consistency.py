"""Multistep consistency sampling: each step goes to the data, then back to less noise.

    x_s = alpha_s x0 + sqrt(sigma_s² - alpha_s² r_0²) z,    z ~ N(0, I)

Song et al. 2023 (arXiv:2303.01469), algorithm 1, in (alpha, sigma).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import NoiseSource, Trajectory, check_noise, levels
from multigen.core.samplers.traits import stochastic
from multigen.core.schedules import Schedule


@stochastic(deterministic="ddim")
def consistency(
    schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, sigma_min: float = 0.0
) -> Trajectory:
    """Multistep consistency sampling (Song et al. 2023, arXiv:2303.01469, algorithm 1), for distilled networks.

    sigma_min  r_0, the noise sigma/alpha that the network leaves in what it answers

    Raises ValueError for a negative `sigma_min`.
    """
    if sigma_min < 0:
        raise ValueError(f"sigma_min: {sigma_min} is not allowed. Allowed: 0 or more.")
    alpha, sigma = levels(schedule, ts)
    for i in range(len(alpha) - 1):
        check_noise(sigma[i])
        x0 = yield Query(x, ts[i])
        x = x0 * alpha[i + 1]
        fresh = sigma[i + 1] ** 2 - (alpha[i + 1] * sigma_min) ** 2
        if fresh > 0:
            x = torch.add(x, noise("step", i), alpha=math.sqrt(fresh))
    return x
