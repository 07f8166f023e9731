"""Adaptive step sizes: DPM-Solver++ of order 3 with an embedded order 2.

Over a step of h in lambda = log(alpha/sigma), with x0 known at lambda, lambda + h/3 and lambda + 2 h/3, and E u the
mean of `steps.moments`:

    order 2:  x_s = a x_t + b (x0 + E u (x0(h/3) - x0)/(1/3))
    order 3:  x_s = a x_t + b (x0 + E u (x0(2h/3) - x0)/(2/3))

Lu et al. 2022 (arXiv:2206.00927), algorithm 2 and appendix C, for data prediction as in arXiv:2211.01095. The error of
a step is the root mean square of their difference in units of sqrt(alpha² + sigma²), which makes it independent of the
schedule. The next step follows Hairer, Nørsett & Wanner 1993 ("Solving Ordinary Differential Equations I"),
section II.4, eq. 4.13:

    h <- h clamp(0.9 (tolerance/error)^(1/3), 0.2, 2)
"""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import (
    NoiseSource,
    Trajectory,
    levels,
    moments,
    step_coefficients,
    transfer,
)
from multigen.core.samplers.traits import one_sample
from multigen.core.schedules import Schedule
from multigen.core.timesteps import noise_range

FIRST, SECOND = 1 / 3, 2 / 3  # where within a step x0 is queried again
# A step is a little shorter than the error allows. It grows by GROW at most: the two orders may agree by chance, above
# all in samples of few numbers.
SAFETY, SHRINK, GROW = 0.9, 0.2, 2.0
# Step sizes are rounded down to 4 values in each doubling, so that rounding errors, which differ between batches, do
# not move the times.
NOTCHES = 4
QUERIES, RETRY = 3, 2  # queries of a step, and of a shorter second try from the same point
ENDS = 2  # most queries at alpha = 0 and before sigma = 0


@one_sample
def adaptive(
    schedule: Schedule,
    x: Tensor,
    ts: Tensor,
    noise: NoiseSource,
    *,
    tolerance: float = 0.01,
    budget: int = 100,
) -> Trajectory:
    """DPM-Solver++ of order 3 whose steps are as long as the tolerance allows, within a budget of queries.

    Only the ends of the grid matter. A step whose error exceeds the tolerance is tried again, shorter. When the budget
    runs short, the rest of the way is cut evenly and walked whatever the error, so that a tolerance that is never met
    gives steps even in log-SNR.

    x          [1, C, *D]: a trajectory holds one sample
    tolerance  largest error of a step, above 0
    budget     most queries, 5 or more

    Raises ValueError for other arguments.
    """
    if not 0 < tolerance < math.inf:
        raise ValueError(f"sampler adaptive: tolerance is a number above 0, not {tolerance}")
    if budget < QUERIES + ENDS:
        raise ValueError(f"sampler adaptive: budget is {QUERIES + ENDS} queries or more, not {budget}")
    if len(x) != 1:
        raise ValueError(
            f"sampler adaptive takes one sample a trajectory, not {len(x)}: `drive` one trajectory for each"
        )
    ends = _inside(schedule, ts)
    start, end = ends.tolist()
    if start != ts[0].item():
        x0 = yield Query(x, ts[0])
        x = transfer(schedule, x, x0, ts[0], ends[0])
        budget -= 1
    last = end != ts[-1].item()
    x = yield from _walk(schedule, x, ends, tolerance, budget - last)
    if last:
        x0 = yield Query(x, ends[1])
        x = transfer(schedule, x, x0, ends[1], ts[-1])
    return x


def _inside(schedule: Schedule, ts: Tensor) -> Tensor:
    """The grid's ends [2], moved inwards from alpha = 0 and sigma = 0 to where lambda is finite."""
    ends = ts[[0, -1]].double()
    low, high, _ = noise_range(schedule)
    inner = schedule.inverse(-2 * torch.log(torch.tensor([high, low], dtype=torch.float64)))
    alpha, sigma = levels(schedule, ends)
    step_coefficients(alpha[0], sigma[0], alpha[1], sigma[1])  # raises at sigma = 0
    ends = torch.where(torch.tensor(alpha) == 0, inner[0], ends)
    # A start nearer to the data than the last step's usual start is that start.
    return torch.where(torch.tensor(sigma) == 0, torch.minimum(inner[1], ends[0]), ends)


def _walk(
    schedule: Schedule, x: Tensor, ends: Tensor, tolerance: float, budget: int
) -> Generator[Query, Tensor, Tensor]:
    """x at ends[1] from x at ends[0], where lambda is finite at both, in `budget` queries at most."""
    lam, goal = (schedule.log_snr(ends) / 2).tolist()
    length = abs(goal - lam) / 10
    while lam != goal:
        x0 = yield Query(x, _time(schedule, lam))
        budget -= 1
        while True:
            # The budget affords this try and so many further steps: none may be shorter than their even share.
            left = abs(goal - lam)
            shortest = left / (1 + (budget - RETRY) // QUERIES)
            h = min(max(length, shortest), left)
            to = goal if h == left else lam + math.copysign(h, goal - lam)
            x_new, error = yield from _step(schedule, x, x0, lam, to)
            budget -= RETRY
            factor = SAFETY * (tolerance / error) ** (1 / 3) if error > 0 else GROW
            notches = math.floor(NOTCHES * math.log2(min(GROW, max(SHRINK, factor))))
            length = h * 2 ** (notches / NOTCHES)
            if error <= tolerance or h == shortest:
                break
        x, lam = x_new, to
    return x


def _step(
    schedule: Schedule, x: Tensor, x0: Tensor, lam: float, to: float
) -> Generator[Query, Tensor, tuple[Tensor, float]]:
    """x at `to` by order 3, and the step's error; x0 is the answer at lam."""
    h = to - lam
    places = torch.tensor([0.0, FIRST, SECOND, 1.0], dtype=torch.float64) * h + lam
    alpha, sigma = (c.tolist() for c in schedule.levels(2 * places))
    times = schedule.inverse(2 * places)
    (a1, b1, _), (a2, b2, _), (a, b, _) = (
        step_coefficients(alpha[0], sigma[0], alpha[k], sigma[k]) for k in (1, 2, 3)
    )
    near = yield Query((x * a1).add_(x0, alpha=b1), times[1])
    # x0 is taken as linear through both answers, so that its mean over the step lies at E u.
    lean = moments(SECOND * h, 1)[0] * SECOND / FIRST
    far = yield Query((x * a2).add_(x0, alpha=b2 * (1 - lean)).add_(near, alpha=b2 * lean), times[2])
    mean = b * moments(h, 1)[0]
    coarse, fine = (near - x0).mul_(mean / FIRST), (far - x0).mul_(mean / SECOND)
    error = (fine - coarse).square_().mean().sqrt().item() / math.hypot(alpha[3], sigma[3])
    return (x * a).add_(x0, alpha=b).add_(fine), error


def _time(schedule: Schedule, lam: float) -> Tensor:
    return schedule.inverse(torch.tensor(2 * lam, dtype=torch.float64))
