"""DPM-Solver++ 2M, of the flow and of the stochastic process."""

from __future__ import annotations

import math

from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import NoiseSource, Trajectory, half_log_snr, levels, step_coefficients
from multigen.core.schedules import Schedule


def dpmpp_2m(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095, algorithm 2), order 2, one query a step.

    `transfer` with x0 extrapolated to the middle of the step in lambda; first order at both ends.
    """
    return dpmpp_2m_sde(schedule, x, ts, noise, eta=0.0)


def dpmpp_2m_sde(
    schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, eta: float = 1.0
) -> Trajectory:
    """SDE-DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095, the SDE solvers), one query a step.

    As `dpmpp_2m`, around the step that takes noise away and adds some again. eta 0: `dpmpp_2m` itself; eta 1: the
    reversed diffusion, which one order lower is `ddpm`; above: more noise.
    """
    if not 0 <= eta < math.inf:
        raise ValueError(f"sampler dpmpp_2m_sde: eta is how much noise comes back, 0 or more, not {eta}")
    alpha, sigma = levels(schedule, ts)
    lam = half_log_snr(schedule, ts)
    before: Tensor | None = None
    for i in range(len(alpha) - 1):
        a, b, c = _coefficients(alpha[i], sigma[i], alpha[i + 1], sigma[i + 1], eta)
        x0 = yield Query(x, ts[i])
        h = lam[i + 1] - lam[i]
        # h / (2 h_before): 0 after a step from alpha = 0, where h_before is infinite.
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
    """(a, b, c) of `x_s = a x_t + b x0 + c noise`.

    With r = e^-h = (alpha_t/alpha_s)(sigma_s/sigma_t): sigma_s r^eta of the noise in x_t stay, and c² = sigma_s² less
    the square of that.
    """
    a, b, _ = step_coefficients(alpha_t, sigma_t, alpha_s, sigma_s)
    if eta == 0 or alpha_s == 0:
        return a, b, 0.0
    kept = min(alpha_t / alpha_s * sigma_s / sigma_t, 1.0) ** eta
    a *= kept
    return a, alpha_s - alpha_t * a, sigma_s * (1 - kept**2) ** 0.5
