"""Adaptive: steps as long as the error that is allowed lets them be."""

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
    one_sample,
    step_coefficients,
    transfer,
)
from multigen.core.schedules import Schedule
from multigen.core.timesteps import reach

FIRST, SECOND = 1 / 3, 2 / 3  # where within a step x0 is asked for besides at its start
# A step is so much shorter than the error would allow, and changes by these factors at most: both orders may agree by
# chance, above all in samples of few numbers, and a step must not grow much on that.
SAFETY, SHRINK, GROW = 0.9, 0.2, 2.0
# To this many notches in a doubling, down: what rounding does to the error in another batch shall not move the times.
NOTCHES = 4
# Queries of a step, and of trying a shorter one from the same point.
QUERIES, AGAIN = 3, 2
ENDS = 2  # queries at most at alpha = 0 and before sigma = 0


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
    """DPM-Solver++ of order 3, in steps as long as its distance from order 2 allows, within a budget of queries.

    Lu et al. 2022 (arXiv:2206.00927, algorithm 2 and appendix C), for x0 as in arXiv:2211.01095. Of the grid only its
    ends count. A step is taken if the root mean square of the difference between both orders is at most
    tolerance sqrt(alpha² + sigma²), which is the same on every schedule, and otherwise tried again shorter. When the
    budget runs short, what is left of the way is cut evenly and walked whatever the error: with a tolerance that is
    never met, the steps are even in log-SNR. x [1, C, *D]: one sample a trajectory. ValueError for several.
    """
    if not 0 < tolerance < math.inf:
        raise ValueError(f"sampler adaptive: tolerance is a number above 0, not {tolerance}")
    if budget < QUERIES + ENDS:
        raise ValueError(f"sampler adaptive: budget is {QUERIES + ENDS} queries or more, not {budget}")
    if len(x) != 1:
        raise ValueError(
            f"sampler adaptive takes one sample a trajectory, not {len(x)}: `drive` a request for each"
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
    """The grid's ends [2], those at alpha = 0 and sigma = 0 drawn in to where lambda is finite."""
    ends = ts[[0, -1]].double()
    low, high, _ = reach(schedule)
    inner = schedule.inverse(-2 * torch.log(torch.tensor([high, low], dtype=torch.float64)))
    alpha, sigma = levels(schedule, ends)
    step_coefficients(alpha[0], sigma[0], alpha[1], sigma[1])  # refuses to begin at the data
    ends = torch.where(torch.tensor(alpha) == 0, inner[0], ends)
    # Nearer to the data already than where the last step begins: it begins here.
    return torch.where(torch.tensor(sigma) == 0, torch.minimum(inner[1], ends[0]), ends)


def _walk(
    schedule: Schedule, x: Tensor, ends: Tensor, tolerance: float, budget: int
) -> Generator[Query, Tensor, Tensor]:
    """x at ends[1] from x at ends[0], both inside, in `budget` queries at most."""
    lam, goal = (schedule.log_snr(ends) / 2).tolist()
    length = abs(goal - lam) / 10
    while lam != goal:
        x0 = yield Query(x, _time(schedule, lam))
        budget -= 1
        while True:
            # As many tries as are left after this one, were each a step of its own.
            left = abs(goal - lam)
            shortest = left / (1 + (budget - AGAIN) // QUERIES)
            h = min(max(length, shortest), left)
            to = goal if h == left else lam + math.copysign(h, goal - lam)
            x_new, error = yield from _step(schedule, x, x0, lam, to)
            budget -= AGAIN
            # Hairer, Nørsett & Wanner 1993, section II.4, eq. 4.13.
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
    """x at `to` by order 3, and its distance from order 2; x0 is what was answered at lam."""
    h = to - lam
    places = torch.tensor([0.0, FIRST, SECOND, 1.0], dtype=torch.float64) * h + lam
    alpha, sigma = (c.tolist() for c in schedule.levels(2 * places))
    times = schedule.inverse(2 * places)
    (a1, b1, _), (a2, b2, _), (a, b, _) = (
        step_coefficients(alpha[0], sigma[0], alpha[k], sigma[k]) for k in (1, 2, 3)
    )
    near = yield Query((x * a1).add_(x0, alpha=b1), times[1])
    # x0 on a line through both answers: its mean over the step lies at E u of the way.
    lean = moments(SECOND * h, 1)[0] * SECOND / FIRST
    far = yield Query((x * a2).add_(x0, alpha=b2 * (1 - lean)).add_(near, alpha=b2 * lean), times[2])
    mean = b * moments(h, 1)[0]
    coarse, fine = (near - x0).mul_(mean / FIRST), (far - x0).mul_(mean / SECOND)
    error = (fine - coarse).square_().mean().sqrt().item() / math.hypot(alpha[3], sigma[3])
    return (x * a).add_(x0, alpha=b).add_(fine), error


def _time(schedule: Schedule, lam: float) -> Tensor:
    return schedule.inverse(torch.tensor(2 * lam, dtype=torch.float64))
