"""Steps: what samplers are made of. Moves down and up in noise, and weights of past answers.

A step down from t to s, with noise z ~ N(0, I):

    x_s = a x_t + b x0 + c z
    c = eta (sigma_s/sigma_t) sqrt(sigma_t² - (alpha_t/alpha_s)² sigma_s²)
    a = sqrt(sigma_s² - c²)/sigma_t
    b = alpha_s - alpha_t a

Song et al. 2021 (arXiv:2010.02502), eq. 12 and 16, in (alpha, sigma). c² at eta = 1 is the posterior variance of DDPM
(Ho et al. 2020, arXiv:2006.11239, eq. 7). A step up from t to s >= t along the forward process:

    x_s = (alpha_s/alpha_t) x_t + sqrt(sigma_s² - (alpha_s/alpha_t)² sigma_t²) z
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import TypeAlias

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.schedules import Schedule

Trajectory: TypeAlias = Generator[Query, Tensor, Tensor]
NoiseSource: TypeAlias = Callable[[str, int], Tensor]


def levels(schedule: Schedule, ts: Tensor) -> tuple[list[float], list[float]]:
    """Compute alpha and sigma at each point of the grid, as Python floats."""
    alpha, sigma = schedule(ts.double())
    return alpha.tolist(), sigma.tolist()


def ends_of_steps(schedule: Schedule, ts: Tensor) -> list[tuple[float, float, float, float]]:
    """Compute alpha and sigma at the beginning of each step, then at its end."""
    alpha, sigma = levels(schedule, ts)
    return list(zip(alpha[:-1], sigma[:-1], alpha[1:], sigma[1:], strict=True))


def check_noise(sigma: float) -> None:
    """ValueError at sigma = 0, where there is no noise to remove."""
    if sigma <= 0:
        raise ValueError(
            "a sampler cannot step from sigma = 0 (t = 0): begin an inversion or an edit at a small t > 0"
        )


def step_coefficients(
    alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float = 0.0
) -> tuple[float, float, float]:
    """Compute (a, b, c) of the step down from t to s. ValueError at sigma_t = 0, where there is no noise to remove."""
    check_noise(sigma_t)
    between = max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0) if eta else 0.0
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
    """Step down from x at t to s (0-d), given x0. eta 0 is DDIM and Euler; eta 1, which needs `noise`, is DDPM."""
    (at, as_), (st, ss) = levels(schedule, torch.stack([t, s]))
    a, b, c = step_coefficients(at, st, as_, ss, eta)
    out = (x * a).add_(x0, alpha=b)
    return out.add_(noise, alpha=c) if c > 0 and noise is not None else out


def renoise(schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """Step up from x at t to s >= t (0-d): churn, restart, RePaint."""
    (at, as_), (st, ss) = levels(schedule, torch.stack([t, s]))
    ratio = as_ / at
    return torch.add(x * ratio, noise, alpha=max(ss**2 - (ratio * st) ** 2, 0.0) ** 0.5)


def half_log_snr(schedule: Schedule, ts: Tensor) -> list[float]:
    """Compute lambda at each point of the grid; infinite where alpha or sigma is 0."""
    return (schedule.log_snr(ts.double()) / 2).tolist()


def moments(h: float, count: int) -> list[float]:
    """Compute E u, E u², ... over a step of h in lambda, u from 0 to 1 with density proportional to e^(h u).

    They weigh x0 in the exact solution x_s = a x_t + b E[x0(u)], (a, b) as in `step_coefficients`: Lu et al. 2022
    (arXiv:2211.01095), proposition 4.1. In the phi functions of exponential integrators (Hochbruck & Ostermann 2010,
    "Exponential integrators", section 2):

        E u^i = i! phi_(i+1)(-h)/phi_1(-h)
    """
    if abs(h) < 1:  # the series, where the recursion below would lose digits
        terms = [1.0]
        for k in range(1, 20):
            terms.append(terms[-1] * h / k)
        masses = [sum(term / (k + i + 1) for k, term in enumerate(terms)) for i in range(count + 1)]
    else:  # integration by parts
        masses = [-math.expm1(-h)]
        for i in range(1, count + 1):
            masses.append(1 - i / h * masses[-1])
    return [mass / masses[0] for mass in masses[1:]]
