"""iPNDM: Adams-Bashforth on the slope of the probability flow, with the coefficients of equal steps.

    x_s = x_t + h sum_k w_k d_k

with d_k the latest slopes (eps in sigma/alpha for vp and ve, eps - x0 in t for flow), h the step in that variable, and
w_k the weights below (Hairer, Nørsett & Wanner 1993, "Solving Ordinary Differential Equations I", section III.1,
eq. 1.5). Zhang & Chen 2023 (arXiv:2204.13902), after Liu et al. 2022 (arXiv:2202.09778).
"""

from __future__ import annotations

from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import NoiseSource, Trajectory, levels, step_coefficients
from multigen.core.schedules import Schedule

# Weights of the slopes, latest first, for orders 1 to 4.
WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def ipndm(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, order: int = 4) -> Trajectory:
    """iPNDM (Zhang & Chen 2023, arXiv:2204.13902) of order 1 to 4: one query a step.

    The first steps have order 1, 2, ... in place of PNDM's Runge-Kutta steps. The weights are those of equal steps
    whatever the grid, so the full order is reached on such grids only, and order 2 on other smooth ones. Raises
    ValueError for other orders.
    """
    if order not in (1, 2, 3, 4):
        raise ValueError(f"sampler ipndm: order is 1, 2, 3 or 4, not {order}")
    alpha, sigma = levels(schedule, ts)
    flow = schedule.family == "flow"
    slopes: list[Tensor] = []  # latest first
    for i in range(len(alpha) - 1):
        a, b, _ = step_coefficients(alpha[i], sigma[i], alpha[i + 1], sigma[i + 1])
        x0 = yield Query(x, ts[i])
        step = (x * a).add_(x0, alpha=b)
        if flow or alpha[i] > 0:  # at alpha = 0 sigma/alpha is infinite: that slope is of no use later
            slopes = [(x - x0 * (1 if flow else alpha[i])).div_(sigma[i]), *slopes[: order - 1]]
        x = step
        if len(slopes) > 1 and sigma[i + 1] > 0:
            length = sigma[i + 1] - sigma[i] * (1 if flow else alpha[i + 1] / alpha[i])
            first, *rest = WEIGHTS[len(slopes) - 1]
            for weight, slope in zip([first - 1, *rest], slopes, strict=True):
                x = x.add_(slope, alpha=length * weight)
    return x
