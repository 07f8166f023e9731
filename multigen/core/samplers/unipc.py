"""UniPC: a multistep predictor, and a corrector that costs no query of its own.

    x_s = a x_t + b (x0 + sum_k w_k (x0_k - x0))

with a, b as in `steps`, x0_k the answers at other times, u_k their places in lambda (the step from t to s being u from
0 to 1), and weights that make the step exact for x0 polynomial in lambda:

    sum_k w_k u_k^i = E u^i,    i = 1, 2, ...

Zhao et al. 2023 (arXiv:2302.04867), theorem 3.1 and corollary 3.2, for data prediction with B(h) = e^h - 1. The
predictor (UniP) uses past answers; the corrector (UniC) repeats the step with the answer at s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import (
    NoiseSource,
    Trajectory,
    half_log_snr,
    levels,
    moments,
    step_coefficients,
)
from multigen.core.schedules import Schedule


class _Step(NamedTuple):
    """Coefficients of one step.

    predict  w_k for the answers before x0, latest first
    correct  w_k for the answer at s, then those before x0; () without a corrector
    """

    a: float
    b: float
    predict: tuple[float, ...]
    correct: tuple[float, ...]


def unipc(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, order: int = 2) -> Trajectory:
    """UniPC (Zhao et al. 2023, arXiv:2302.04867) of order p = 1, 2 or 3: one query a step.

    With its corrector it converges with order p + 1. The order rises from 1 and falls to 1 at the end of the grid.
    Raises ValueError for other orders.
    """
    if order not in (1, 2, 3):
        raise ValueError(f"sampler unipc: order is 1, 2 or 3, not {order}")
    steps = _steps(schedule, ts, order)
    answers: list[Tensor] = []  # x0, latest first
    base = x
    for i, step in enumerate(steps):
        x0 = yield Query(x, ts[i])
        if i and steps[i - 1].correct:
            x = _combine(base, steps[i - 1].b, steps[i - 1].correct, [x0, *answers[1:]], answers[0])
        answers = [x0, *answers[: order - 1]]
        base = (x * step.a).add_(x0, alpha=step.b)
        x = _combine(base, step.b, step.predict, answers[1:], x0)
    return x


def _combine(
    base: Tensor, b: float, weights: Sequence[float], others: Sequence[Tensor], x0: Tensor
) -> Tensor:
    """base + b sum_k w_k (x0_k - x0), over as many x0_k as there are weights."""
    if not weights:
        return base
    out = torch.add(base, x0, alpha=-b * sum(weights))
    for weight, other in zip(weights, others, strict=False):
        out = out.add_(other, alpha=b * weight)
    return out


def _steps(schedule: Schedule, ts: Tensor, order: int) -> list[_Step]:
    """Coefficients of every step of the grid."""
    alpha, sigma = levels(schedule, ts)
    lam = half_log_snr(schedule, ts)
    count = len(lam) - 1
    first = next((i for i, value in enumerate(lam) if math.isfinite(value)), count)  # after alpha = 0
    out = []
    for i in range(count):
        a, b, _ = step_coefficients(alpha[i], sigma[i], alpha[i + 1], sigma[i + 1])
        h = lam[i + 1] - lam[i]
        predict: tuple[float, ...] = ()
        correct: tuple[float, ...] = ()
        if math.isfinite(h):
            p = min(order, i - first + 1, count - i)
            past = [(lam[i - k] - lam[i]) / h for k in range(1, p)]
            predict = _weights(past, h)
            correct = _weights([1.0, *past], h) if i + 1 < count else ()
        out.append(_Step(a, b, predict, correct))
    return out


def _weights(places: list[float], h: float) -> tuple[float, ...]:
    """w_k for answers at the places u_k of a step of h in lambda.

    For one place E u is taken as 1/2, as in the paper; the order is the same.
    """
    if len(places) < 2:
        return tuple(0.5 / u for u in places)
    u = torch.tensor(places, dtype=torch.float64)
    powers = u ** torch.arange(1, len(places) + 1, dtype=torch.float64)[:, None]
    return tuple(torch.linalg.solve(powers, u.new_tensor(moments(h, len(places)))).tolist())
