"""DDIM, and its presets that have names of their own.

    x_s = a x_t + b x0 + c z

with the coefficients of `steps` for eta in [0, 1]: Song et al. 2021 (arXiv:2010.02502), eq. 12.
"""

from __future__ import annotations

from torch import Tensor

from multigen.core.guides import Query
from multigen.core.samplers.steps import NoiseSource, Trajectory, ends_of_steps, step_coefficients
from multigen.core.samplers.traits import stochastic
from multigen.core.schedules import Schedule


@stochastic(deterministic="ddim")
def ddim(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, eta: float = 0.0) -> Trajectory:
    """DDIM (Song et al. 2021, arXiv:2010.02502), order 1. eta 0 is deterministic, eta 1 is DDPM's ancestral sampling.

    Raises ValueError for eta outside [0, 1].
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"sampler ddim: eta is a share of the posterior's noise in [0, 1], not {eta}")
    steps = [step_coefficients(*ends, eta) for ends in ends_of_steps(schedule, ts)]
    for i, (t, (a, b, c)) in enumerate(zip(ts, steps, strict=False)):
        x0 = yield Query(x, t)
        x = (x * a).add_(x0, alpha=b)
        if c > 0:
            x = x.add_(noise("step", i), alpha=c)
    return x


def euler(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Euler's method in sigma/alpha (Karras et al. 2022, arXiv:2206.00364), in t for flow: `ddim` at eta 0."""
    return ddim(schedule, x, ts, noise, eta=0.0)


@stochastic(deterministic="ddim")
def ddpm(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Ancestral sampling (Ho et al. 2020, arXiv:2006.11239, algorithm 2, on any grid): `ddim` at eta 1."""
    return ddim(schedule, x, ts, noise, eta=1.0)


@stochastic(deterministic="euler")
def euler_ancestral(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """k-diffusion's name for `ddpm`: both are one formula in (alpha, sigma)."""
    return ddim(schedule, x, ts, noise, eta=1.0)
