"""Heun's method, and EDM's stochastic sampler around it.

An Euler step, then the same step with the mean of the slopes at both ends (the trapezoidal rule), as a correction by
the difference of the two answers:

    x_s = euler(x_t, x0_t) + k (x0_s - x0_t)
    k = alpha_s (sigma_t alpha_s/(alpha_t sigma_s) - 1)/2    (vp, ve: slope eps = (x - alpha x0)/sigma in sigma/alpha)
    k = (sigma_t/sigma_s - 1)/2                              (flow: slope eps - x0 in t)

Karras et al. 2022 (arXiv:2206.00364), algorithm 1. Churn raises the noise level before a step, from sigma/alpha to

    (1 + gamma) sigma/alpha,    gamma = min(churn/n, sqrt 2 - 1)        (algorithm 2 there)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import NoiseSource, Trajectory, levels, renoise, step_coefficients
from multigen.core.samplers.traits import stochastic
from multigen.core.schedules import Schedule


def heun(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Heun's method (Karras et al. 2022, arXiv:2206.00364, algorithm 1): order 2, two queries a step.

    A step to sigma = 0 is first order, and so is a step from alpha = 0, except for flow, whose slope is finite there.
    """
    return edm(schedule, x, ts, noise, churn=0.0)


@stochastic(deterministic="heun")
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

    churn        S_churn: sigma/alpha grows by churn/n before each step, at most by sqrt 2 - 1 and to the schedule's top
    churn_low    S_tmin: lowest sigma/alpha with churn
    churn_high   S_tmax: highest sigma/alpha with churn
    churn_noise  S_noise: standard deviation of the fresh noise; a little over 1 for a network that removes too much

    Raises ValueError for values out of range.
    """
    if not (0 <= churn < math.inf and 0 <= churn_low <= churn_high and 0 < churn_noise < math.inf):
        raise ValueError(
            "sampler edm needs churn >= 0, 0 <= churn_low <= churn_high and churn_noise > 0; given: "
            f"churn={churn}, churn_low={churn_low}, churn_high={churn_high}, churn_noise={churn_noise}"
        )
    alpha, sigma = levels(schedule, ts)
    raised = ts if churn == 0 else _raised(schedule, ts, churn, churn_low, churn_high)
    above, more = (alpha, sigma) if churn == 0 else levels(schedule, raised)
    ends = list(zip(above, more, alpha[1:], sigma[1:], strict=False))
    steps = [(*step_coefficients(*step)[:2], _trapezoid(schedule, *step)) for step in ends]
    times, starts = ts.unbind(), raised.unbind()
    for i, (a, b, k) in enumerate(steps):
        if more[i] > sigma[i] or above[i] < alpha[i]:
            x = renoise(schedule, x, times[i], starts[i], noise("churn", i) * churn_noise)
        x0 = yield Query(x, starts[i])
        x = (x * a).add_(x0, alpha=b)
        if k:
            x0_next = yield Query(x, times[i + 1])
            x = torch.add(x, x0_next, alpha=k).sub_(x0, alpha=k)
    return x


def _raised(schedule: Schedule, ts: Tensor, churn: float, low: float, high: float) -> Tensor:
    """The times [n+1] after churn; those without churn stay as they are."""
    ratio = torch.exp(schedule.log_snr(ts.double()) / -2)
    top = math.exp(schedule.log_snr(torch.ones((), dtype=torch.float64)).item() / -2)
    wanted = (ratio * (1 + min(churn / (len(ts) - 1), math.sqrt(2) - 1))).clamp(max=top)
    churned = (ratio >= low) & (ratio <= high) & (ratio > 0) & (wanted > ratio)
    times = schedule.inverse(-2 * torch.log(torch.where(churned, wanted, torch.ones_like(wanted))))
    return torch.where(churned, torch.maximum(times, ts.double()), ts.double())


def _trapezoid(schedule: Schedule, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float) -> float:
    """k of the correction; 0 where the step stays first order.

    It is half the difference of the slopes at both ends times the step, from which x and Euler's x_s drop out.
    """
    if sigma_s == 0:
        return 0.0
    if schedule.family == "flow":
        return (sigma_t / sigma_s - 1) / 2
    return alpha_s * (sigma_t * alpha_s / (alpha_t * sigma_s) - 1) / 2 if alpha_t > 0 else 0.0
