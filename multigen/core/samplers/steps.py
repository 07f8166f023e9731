"""Steps: what samplers are made of. Moves down and up in noise, and weights of what was answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.schedules import Schedule

Trajectory: TypeAlias = Generator[Query, Tensor, Tensor]
NoiseSource: TypeAlias = Callable[[str, int], Tensor]
S = TypeVar("S", bound=Callable[..., Trajectory])


def one_sample(sampler: S) -> S:
    """Marks a sampler that chooses its times by the sample: each of its trajectories holds one.

    With two in a trajectory, each would depend on the other. Driven together, their calls merge all the same.
    """
    vars(sampler)["one_sample"] = True
    return sampler


def takes_one_sample(sampler: Callable[..., Any]) -> bool:
    """Whether a sampler was marked with `one_sample`."""
    return vars(sampler).get("one_sample", False)


def levels(schedule: Schedule, ts: Tensor) -> tuple[list[float], list[float]]:
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
    """x_s from x_t and x0: eta 0 is DDIM and Euler, eta 1 is DDPM ancestral. t, s 0-d; shapes of x kept."""
    (at, as_), (st, ss) = levels(schedule, torch.stack([t, s]))
    a, b, c = step_coefficients(at, st, as_, ss, eta)
    out = (x * a).add_(x0, alpha=b)
    return out.add_(noise, alpha=c) if c > 0 and noise is not None else out


def renoise(schedule: Schedule, x: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """Up in noise from t to s >= t along the forward process (churn, restart, RePaint)."""
    (at, as_), (st, ss) = levels(schedule, torch.stack([t, s]))
    ratio = as_ / at
    return torch.add(x * ratio, noise, alpha=max(ss**2 - (ratio * st) ** 2, 0.0) ** 0.5)


def half_log_snr(schedule: Schedule, ts: Tensor) -> list[float]:
    """lambda at each point of the grid; infinite where alpha or sigma is 0."""
    return (schedule.log_snr(ts.double()) / 2).tolist()


def moments(h: float, count: int) -> list[float]:
    """Mean of u, u², ... over a step of h in lambda, u from 0 to 1: what x0 weighs in the exact solution.

    x_s = a x_t + b E[x0(u)], (a, b) as in `step_coefficients` and u of density ~ e^(h u): Lu et al. 2022
    (arXiv:2211.01095, proposition 4.1). In the phi functions of exponential integrators (Hochbruck & Ostermann 2010,
    section 2), E u^i = i! phi_(i+1)(-h) / phi_1(-h).
    """
    if abs(h) < 1:  # the series: the recursion below would lose digits
        terms = [1.0]
        for k in range(1, 20):
            terms.append(terms[-1] * h / k)
        masses = [sum(term / (k + i + 1) for k, term in enumerate(terms)) for i in range(count + 1)]
    else:  # integration by parts
        masses = [-math.expm1(-h)]
        for i in range(1, count + 1):
            masses.append(1 - i / h * masses[-1])
    return [mass / masses[0] for mass in masses[1:]]
