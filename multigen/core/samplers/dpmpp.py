"""DPM-Solver++ 2M, deterministic and stochastic.

With h the step in lambda = log(alpha/sigma) and h' the step before, x0 is extrapolated to the middle of the step:

    x_s = a x_t + b ((1 + k) x0 - k x0') + c z,    k = h/(2 h')

Lu et al. 2022 (arXiv:2211.01095), algorithm 2. With r = e^-h = (alpha_t/alpha_s)(sigma_s/sigma_t):

    a = (sigma_s/sigma_t) r^eta,    b = alpha_s - alpha_t a,    c = sigma_s sqrt(1 - r^(2 eta))

eta = 0 is the probability-flow ODE; eta = 1 is the reversed diffusion (the paper's SDE-DPM-Solver++).
"""

from __future__ import annotations

import math

from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import NoiseSource, Trajectory, half_log_snr, levels, step_coefficients
from multigen.core.samplers.traits import stochastic
from multigen.core.schedules import Schedule


def dpmpp_2m(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095, algorithm 2): order 2, one query a step."""
    return dpmpp_2m_sde(schedule, x, ts, noise, eta=0.0)


@stochastic(deterministic="dpmpp_2m")
def dpmpp_2m_sde(
    schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, eta: float = 1.0
) -> Trajectory:
    """SDE-DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095, the SDE solvers): one query a step.

    eta 0 is `dpmpp_2m`; eta 1 is the reversed diffusion, which at order 1 is `ddpm`; above 1 adds more noise. Raises
    ValueError for eta below 0.
    """
    if not 0 <= eta < math.inf:
        raise ValueError(f"sampler dpmpp_2m_sde: eta scales the fresh noise and is 0 or more, not {eta}")
    alpha, sigma = levels(schedule, ts)
    lam = half_log_snr(schedule, ts)
    before: Tensor | None = None
    for i in range(len(alpha) - 1):
        a, b, c = _coefficients(alpha[i], sigma[i], alpha[i + 1], sigma[i + 1], eta)
        x0 = yield Query(x, ts[i])
        h = lam[i + 1] - lam[i]
        # 0 after a step from alpha = 0, where h' is infinite.
        k = 0.0 if before is None or math.isinf(h) else h / (lam[i] - lam[i - 1]) / 2
        x = (x * a).add_(x0, alpha=b * (1 + k))
        if k and before is not None:
            x = x.add_(before, alpha=-b * k)
        if c > 0:
            x = x.add_(noise("step", i), alpha=c)
        before = x0
    return x


def _coefficients(
    alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float
) -> tuple[float, float, float]:
    """(a, b, c) of the formulas above."""
    a, b, _ = step_coefficients(alpha_t, sigma_t, alpha_s, sigma_s)
    if eta == 0 or alpha_s == 0:
        return a, b, 0.0
    kept = min(alpha_t / alpha_s * sigma_s / sigma_t, 1.0) ** eta
    a *= kept
    return a, alpha_s - alpha_t * a, sigma_s * (1 - kept**2) ** 0.5
