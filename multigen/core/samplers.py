"""Samplers: coroutines of pure numerics. They yield a `Query`, receive x0 and return the sample.

All are written in (alpha, sigma), never in sigma/alpha alone, so they are fine from alpha = 0 to sigma = 0.
Coefficients are computed once per grid in float64 on the CPU; x stays in its own dtype. What was yielded or received is
never written into; what is made here is, since fresh memory costs as much as the arithmetic. Arguments of each:

schedule · x [B, C, *D], the start at t = ts[0] · ts [n+1], falling · noise(purpose, index) -> [B, C, *D]
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeAlias

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.schedules import Schedule

Trajectory: TypeAlias = Generator[Query, Tensor, Tensor]
NoiseSource: TypeAlias = Callable[[str, int], Tensor]


def _levels(schedule: Schedule, ts: Tensor) -> tuple[list[float], list[float]]:
    """alpha and sigma at each point of the grid, as Python floats."""
    alpha, sigma = schedule(ts.double())
    return alpha.tolist(), sigma.tolist()


def step_coefficients(
    alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float = 0.0
) -> tuple[float, float, float]:
    """(a, b, c) of `x_s = a x_t + b x0 + c noise`, from t down to s.

    DDIM in (alpha, sigma): Song et al. 2021 (arXiv:2010.02502), eq. 12 and 16. The posterior variance of DDPM is
    c² at eta = 1. ValueError at sigma_t = 0: data hold no noise to take away.
    """
    if sigma_t <= 0:
        raise ValueError(
            "a sampler cannot step from sigma = 0 (t = 0): begin an inversion or an edit at a small t > 0"
        )
    between = max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0)
    c = min(eta * sigma_s / sigma_t * between**0.5, sigma_s)
    a = max(sigma_s**2 - c**2, 0.0) ** 0.5 / sigma_t
    return a, alpha_s - alpha_t * a, c


def transfer(
    schedule: Schedule,
    x: Tensor,
    x0: Tensor,
    t: Tensor,
    s: Tensor,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """x_s from x_t and x0: eta 0 is DDIM and Euler, eta 1 is DDPM ancestral. t, s 0-d; shapes of x kept."""
    (at, as_), (st, ss) = _levels(schedule, torch.stack([t, s]))
    a, b, c = step_coefficients(at, st, as_, ss, eta)
    out = (x * a).add_(x0, alpha=b)
    return out.add_(noise, alpha=c) if c > 0 and noise is not None else out


def renoise(schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """Up in noise from t to s >= t along the forward process (churn, restart, RePaint)."""
    (at, as_), (st, ss) = _levels(schedule, torch.stack([t, s]))
    ratio = as_ / at
    return torch.add(x * ratio, noise, alpha=max(ss**2 - (ratio * st) ** 2, 0.0) ** 0.5)


def ddim(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, eta: float = 0.0) -> Trajectory:
    """DDIM (Song et al. 2021, arXiv:2010.02502). eta 0: deterministic, order 1; eta 1: DDPM ancestral."""
    if not 0 <= eta <= 1:
        raise ValueError(f"sampler ddim: eta is a share of the posterior's noise in [0, 1], not {eta}")
    alpha, sigma = _levels(schedule, ts)
    for i in range(len(alpha) - 1):
        a, b, c = step_coefficients(alpha[i], sigma[i], alpha[i + 1], sigma[i + 1], eta)
        x0 = yield Query(x, ts[i])
        x = (x * a).add_(x0, alpha=b)
        if c > 0:
            x = x.add_(noise("step", i), alpha=c)
    return x


def euler(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Euler in sigma/alpha (Karras et al. 2022, arXiv:2206.00364), rectified flow's Euler: `ddim` at eta 0."""
    return ddim(schedule, x, ts, noise, eta=0.0)


def ddpm(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Ancestral sampling (Ho et al. 2020, arXiv:2006.11239, algorithm 2, on any grid): `ddim` at eta 1."""
    return ddim(schedule, x, ts, noise, eta=1.0)


def euler_ancestral(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """k-diffusion's name for `ddpm`: the two are one formula in (alpha, sigma)."""
    return ddim(schedule, x, ts, noise, eta=1.0)


def heun(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Heun's second-order method (Karras et al. 2022, arXiv:2206.00364, algorithm 1 without churn).

    Trapezoidal in sigma/alpha for VP and VE, in t for flow. A step to sigma = 0 is first order, and so is a step from
    alpha = 0 unless the schedule is flow, whose slope is finite there.
    """
    alpha, sigma = _levels(schedule, ts)
    for i in range(len(alpha) - 1):
        a, b, _ = step_coefficients(alpha[i], sigma[i], alpha[i + 1], sigma[i + 1])
        x0 = yield Query(x, ts[i])
        x = (x * a).add_(x0, alpha=b)
        k = _trapezoid(schedule, alpha[i], sigma[i], alpha[i + 1], sigma[i + 1])
        if k:
            x0_next = yield Query(x, ts[i + 1])
            x = torch.add(x, x0_next, alpha=k).sub_(x0, alpha=k)
    return x


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


def dpmpp_2m(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """DPM-Solver++ 2M (Lu et al. 2022, arXiv:2211.01095, algorithm 2), order 2, one query a step.

    `transfer` with x0 extrapolated to the middle of the step in log(alpha/sigma); first order at both ends.
    """
    alpha, sigma = _levels(schedule, ts)
    lam = (schedule.log_snr(ts.double()) / 2).tolist()
    before: Tensor | None = None
    for i in range(len(alpha) - 1):
        a, b, _ = step_coefficients(alpha[i], sigma[i], alpha[i + 1], sigma[i + 1])
        x0 = yield Query(x, ts[i])
        h = lam[i + 1] - lam[i]
        # h / (2 h_before): 0 after a step from alpha = 0, where h_before is infinite.
        k = 0.0 if before is None or sigma[i + 1] == 0 else h / (lam[i] - lam[i - 1]) / 2
        x = (x * a).add_(x0, alpha=b * (1 + k))
        if k and before is not None:
            x = x.add_(before, alpha=-b * k)
        before = x0
    return x
