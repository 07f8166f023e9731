"""Posterior sampling: samples that agree with a measurement y of them.

With y = A x0 + noise, x0 moves down the gradient of the measurement's misfit through the network (DPS: Chung et al.
2023, arXiv:2209.14687, eq. 10):

    D - (sigma²/alpha) grad_x |A D(x) - y|²/(2 V)
    V  = gain r² + noise²
    r² = sd² sigma²/(alpha² sd² + sigma²)

V is the misfit's variance, that of the estimate D plus that of the measurement, as in pseudoinverse-guided diffusion
(Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse problems", eq. 7), for data of standard deviation
sd.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Guide, Query


def posterior(
    guide: Guide,
    denoiser: Denoiser,
    measure: Callable[[Tensor], Tensor],
    known: Tensor,
    *,
    gain: float = 1.0,
    noise: float | Tensor = 0.02,
    sigma_data: float = 0.5,
) -> Guide:
    """Sample from the posterior of a measurement. Each call costs a backward pass.

    measure     A: x0 [B, C, *D] -> the measurement, linear in x0
    known       y [B or 1, ...], what was measured
    gain        g with A A^T about g times the identity
    noise       standard deviation of the measurement's noise, one for all of it or for each value [B or 1, ...]
    sigma_data  sd, the standard deviation of the data in model space
    """

    def guided(q: Query) -> Answers:
        alpha, sigma = (float(level) for level in denoiser.schedule(q.t.double().reshape(1)))
        if alpha == 0 or sigma == 0:
            return (yield from guide(q))
        x = q.x.detach().requires_grad_(True)
        x0 = yield from _differentiable(guide, Query(x, q.t))
        variance = gain * sigma_data**2 * sigma**2 / (alpha**2 * sigma_data**2 + sigma**2) + noise**2
        with torch.enable_grad():
            error = ((measure(x0) - known).square() / variance).sum() / 2
            (slope,) = torch.autograd.grad(error, x, retain_graph=True)
        return x0.detach() - sigma**2 / alpha * slope

    return guided


def _differentiable(guide: Guide, q: Query) -> Answers:
    """The guide's x0 with its graph: all of its calls keep theirs."""
    with torch.enable_grad():
        inner = guide(q)
        try:
            calls = next(inner)
        except StopIteration as stop:
            return stop.value
    try:
        while True:
            answers = yield [call._replace(grad=True) for call in calls]
            with torch.enable_grad():
                try:
                    calls = inner.send(answers)
                except StopIteration as stop:
                    return stop.value
    finally:
        inner.close()
