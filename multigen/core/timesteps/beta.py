"""The beta grid: quantiles of the beta distribution.

    I_x(a, b) = (1/B(a, b)) x^a sum_k ((1 - b)_k/k!) x^k/(a + k)       (DLMF 8.17.7 with 15.2.1)

is the distribution function, the regularised incomplete beta function, and (c)_k the rising factorial.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import check_steps, noise_range, times_of_ratios, times_of_shares


def beta(
    schedule: Schedule, steps: int, *, a: float = 0.6, b: float = 0.6, of: Literal["t", "sigma"] = "t"
) -> Tensor:
    """Take quantiles of Beta(a, b): more steps at both ends (Lee et al. 2024, arXiv:2407.12173).

    `of`: t, as in the paper, or sigma (meaning sigma/alpha), as in diffusers' schedulers of sigma. Raises ValueError
    unless a and b are 0.3 to 10.
    """
    check_steps(steps)
    if not (0.3 <= a <= 10 and 0.3 <= b <= 10):
        raise ValueError(f"timesteps beta needs a and b from 0.3 to 10; given: a={a}, b={b}")
    if of == "t":
        return times_of_shares(schedule, steps, lambda u: _quantiles(u, a, b))
    low, high, pure = noise_range(schedule)
    shares = _quantiles(torch.linspace(1, 0, steps - int(pure), dtype=torch.float64), a, b)
    return times_of_ratios(schedule, low + (high - low) * shares, pure)


def _quantiles(u: Tensor, a: float, b: float) -> Tensor:
    """x with I_x(a, b) = u, float64."""
    low, high = torch.zeros_like(u), torch.ones_like(u)
    for _ in range(60):  # bisection, to the last bit
        middle = (low + high) / 2
        above = _distribution(middle, a, b) > u
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return torch.where((u <= 0) | (u >= 1), u, high)


def _distribution(x: Tensor, a: float, b: float) -> Tensor:
    """I_x(a, b) = 1 - I_(1-x)(b, a), by the series on the side of 1/2 where it converges."""

    def series(x: Tensor, a: float, b: float) -> Tensor:
        n = torch.arange(64, dtype=torch.float64)
        rising = torch.cat([n.new_ones(1), torch.cumprod((n[1:] - b) / n[1:], 0)])  # (1 - b)_n / n!
        return x**a * (x[:, None] ** n * (rising / (a + n))).sum(1)

    whole = math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))
    near = series(x.clamp(max=0.5), a, b) / whole
    return torch.where(x <= 0.5, near, 1 - series((1 - x).clamp(max=0.5), b, a) / whole)
