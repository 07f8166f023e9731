"""Edits: trajectories that start from a medium instead of pure noise, and blends of noise and guides.

    img2img    start at x_t = alpha x0 + sigma eps, t < 1       Meng et al. 2022 (arXiv:2108.01073), algorithm 1
    inversion  walk the probability-flow ODE from data to noise Song et al. 2021 (arXiv:2010.02502), section 4.3
    resample   step down, noise up, step down again             Lugmayr et al. 2022 (arXiv:2201.09865), algorithm 1
    slerp      (sin((1 - s) w) a + sin(s w) b)/sin w            Shoemake 1985 ("Animating rotation with quaternion
                                                                curves"), section 3.3; w the angle between a and b

They wrap samplers and guides and call no network. Inpainting adds `modifiers.fill`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from multigen.core.guides import Answers, Guide, Query, together
from multigen.core.samplers import NoiseSource, Trajectory, heun, renoise
from multigen.core.schedules import Schedule

Sampler: TypeAlias = Callable[[Schedule, Tensor, Tensor, NoiseSource], Trajectory]


def add_noise(schedule: Schedule, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Compute x_t = alpha x0 + sigma eps at t (0-d), the start of an edit. x0 and noise are [B, C, *D]."""
    alpha, sigma = (float(level) for level in schedule(t.double().reshape(1)))
    return torch.add(x0 * alpha, noise, alpha=sigma)


def last_steps(ts: Tensor, strength: float) -> Tensor:
    """Keep the last share `strength` of a grid's steps: [n+1] -> [m+1], m = strength n, rounded up.

    Where that is no whole number of steps, the first is the rest of one: it begins between two points of the grid.
    Raises ValueError unless strength is in (0, 1], and for less than a thousandth of a step, in whose noise a sampler
    cannot step.
    """
    if not 0 < strength <= 1:
        raise ValueError(
            f"strength: {strength} is not allowed. Allowed: over 0 (no change) to 1 (everything is new)."
        )
    if strength * (len(ts) - 1) < 1e-3:
        steps = len(ts) - 1
        raise ValueError(
            f"{strength:g} of {steps} steps is less than a thousandth of one: nothing would change"
        )
    wanted = round(strength * (len(ts) - 1), 9)
    steps = max(math.ceil(wanted), 1)
    share = wanted - (steps - 1)
    if share == 1:
        return ts[-steps - 1 :]
    return torch.cat([torch.lerp(ts[-steps], ts[-steps - 1], share).reshape(1), ts[-steps:]])


def invert(schedule: Schedule, x: Tensor, ts: Tensor) -> Trajectory:
    """Walk from x at ts[0] to x at ts[-1] along the probability-flow ODE, without random noise; ts rise.

    Song et al. 2021 (arXiv:2010.02502), section 4.3, by Heun's method: the way back returns to the source with a third
    of Euler's error. ts[0] must be above 0, because there is no noise in data that could be scaled up.
    """
    return heun(schedule, x, ts, _no_noise)


def _no_noise(purpose: str, index: int) -> Tensor:
    raise AssertionError("an inversion draws no noise")


def resample(
    sampler: Sampler, schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, times: int
) -> Trajectory:
    """Take each step `times` times, going back up in noise between them, so that filled and kept regions agree better.

    RePaint: Lugmayr et al. 2022 (arXiv:2201.09865), algorithm 1. The sampler takes single steps, so multistep methods
    are first order here.
    """
    for i in range(len(ts) - 1):
        for k in range(times):
            # Each round draws noise of its own.
            part = _shifted(noise, (i * times + k) * 1000)
            x = yield from sampler(schedule, x, ts[i : i + 2], part)
            if k + 1 < times and float(ts[i + 1]) > 0:
                x = renoise(schedule, x, ts[i + 1], ts[i], noise("resample", i * times + k))
            elif k + 1 < times:
                break
    return x


def _shifted(noise: NoiseSource, by: int) -> NoiseSource:
    return lambda purpose, index: noise(purpose, by + index)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Interpolate on the arc from noise a (share 0) to noise b (share 1), which keeps the norm. Equal shapes."""
    cos = (a.flatten() @ b.flatten() / (a.norm() * b.norm())).clamp(-1, 1)
    angle = torch.acos(cos)
    if angle < 1e-4:
        return torch.lerp(a, b, share)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def during(guide: Guide, other: Guide, low: float, high: float) -> Guide:
    """Ask another guide at times in (low, high], so that its prompt decides what is decided there."""

    def swapped(q: Query) -> Answers:
        return (yield from (other if low < float(q.t) <= high else guide)(q))

    return swapped


def interpolate_guides(a: Guide, b: Guide, share: float) -> Guide:
    """Interpolate between the x0 of two guides: (1 - share) of a's and share of b's, their calls in one round."""

    def guide(q: Query) -> Answers:
        one, other = yield from together([a(q), b(q)])
        return torch.lerp(one, other, share)

    return guide
