"""Multistep consistency sampling: each step goes to the data, then back to less noise.

    x_s = alpha_s x0 + sigma_s z,    z ~ N(0, I)

Song et al. 2023 (arXiv:2303.01469), algorithm 1, in (alpha, sigma).
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import NoiseSource, Trajectory, check_noise, levels
from multigen.core.samplers.traits import stochastic
from multigen.core.schedules import Schedule


@stochastic(deterministic="ddim")
def consistency(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Multistep consistency sampling (Song et al. 2023, arXiv:2303.01469, algorithm 1), for distilled networks."""
    alpha, sigma = levels(schedule, ts)
    for i in range(len(alpha) - 1):
        check_noise(sigma[i])
        x0 = yield Query(x, ts[i])
        x = x0 * alpha[i + 1]
        if sigma[i + 1] > 0:
            x = torch.add(x, noise("step", i), alpha=sigma[i + 1])
    return x
