"""Heun's method, and EDM's stochastic sampler around it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import NoiseSource, Trajectory, levels, renoise, step_coefficients
from multigen.core.schedules import Schedule


def heun(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Heun's second-order method (Karras et al. 2022, arXiv:2206.00364, algorithm 1).

    Trapezoidal in sigma/alpha for VP and VE, in t for flow. A step to sigma = 0 is first order, and so is a step from
    alpha = 0 unless the schedule is flow, whose slope is finite there.
    """
    return edm(schedule, x, ts, noise, churn=0.0)


def edm(
    schedule: Schedule,
    x: Tensor,
    ts: Tensor,
    noise: NoiseSource,
    *,
    churn: float = 10.0,
    churn_low: float = 0.05,
    churn_high: float = 50.0,
    churn_noise: float = 1.0,
) -> Trajectory:
    """EDM's stochastic sampler (Karras et al. 2022, arXiv:2206.00364, algorithm 2): `heun` with churn.

    Before each step sigma/alpha is raised by the share churn/n (at most sqrt 2 - 1, and never beyond the schedule's
    own), where it lies from churn_low to churn_high, with noise of deviation churn_noise. The paper's S_churn, S_tmin,
    S_tmax and S_noise; a network that takes away too much noise wants churn_noise a little over 1.
    """
    if not (0 <= churn < math.inf and 0 <= churn_low <= churn_high and 0 < churn_noise < math.inf):
        raise ValueError(
            "sampler edm needs churn >= 0, 0 <= churn_low <= churn_high and churn_noise > 0; given: "
            f"churn={churn}, churn_low={churn_low}, churn_high={churn_high}, churn_noise={churn_noise}"
        )
    alpha, sigma = levels(schedule, ts)
    raised = ts if churn == 0 else _raised(schedule, ts, churn, churn_low, churn_high)
    above, more = (alpha, sigma) if churn == 0 else levels(schedule, raised)
    for i in range(len(alpha) - 1):
        if more[i] > sigma[i] or above[i] < alpha[i]:
            x = renoise(schedule, x, ts[i], raised[i], noise("churn", i) * churn_noise)
        a, b, _ = step_coefficients(above[i], more[i], alpha[i + 1], sigma[i + 1])
        x0 = yield Query(x, raised[i])
        x = (x * a).add_(x0, alpha=b)
        k = _trapezoid(schedule, above[i], more[i], alpha[i + 1], sigma[i + 1])
        if k:
            x0_next = yield Query(x, ts[i + 1])
            x = torch.add(x, x0_next, alpha=k).sub_(x0, alpha=k)
    return x


def _raised(schedule: Schedule, ts: Tensor, churn: float, low: float, high: float) -> Tensor:
    """The times [n+1] that churn raises those of the grid to; those that it leaves alone as they are."""
    ratio = torch.exp(schedule.log_snr(ts.double()) / -2)
    top = math.exp(schedule.log_snr(torch.ones((), dtype=torch.float64)).item() / -2)
    wanted = (ratio * (1 + min(churn / (len(ts) - 1), math.sqrt(2) - 1))).clamp(max=top)
    churned = (ratio >= low) & (ratio <= high) & (ratio > 0) & (wanted > ratio)
    times = schedule.inverse(-2 * torch.log(torch.where(churned, wanted, torch.ones_like(wanted))))
    return torch.where(churned, torch.maximum(times, ts.double()), ts.double())


def _trapezoid(schedule: Schedule, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float) -> float:
    """k of Heun's `x_s = euler + k (x0_s - x0_t)`, 0 where the step stays first order.

    The mean of the slopes at both ends, less the first slope, times the step. The slope is eps = (x - alpha x0)/sigma
    in d(x/alpha) = eps d(sigma/alpha), and eps - x0 in flow's dx/dt; x and Euler's x_s drop out of the difference.
    """
    if sigma_s == 0:
        return 0.0
    if schedule.family == "flow":
        return (sigma_t / sigma_s - 1) / 2
    return alpha_s * (sigma_t * alpha_s / (alpha_t * sigma_s) - 1) / 2 if alpha_t > 0 else 0.0
