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

from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Call, Guide, Query, together
from multigen.core.sliding_window import Crop, Window, blended, total_weight, windows_of


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
        variance = _variance(alpha, sigma, gain, noise, sigma_data)
        with torch.enable_grad():
            error = ((measure(x0) - known).square() / variance).sum() / 2
            (slope,) = torch.autograd.grad(error, x, retain_graph=True)
        return x0.detach() - sigma**2 / alpha * slope

    return guided


def posterior_in_windows(
    make: Callable[[Crop], Guide],
    size: Sequence[int],
    denoiser: Denoiser,
    measure: Callable[[Tensor], Tensor],
    known: Tensor,
    *,
    gain: float = 1.0,
    noise: float | Tensor = 0.02,
    sigma_data: float = 0.5,
    at_once: int = 16,
) -> Guide:
    """`posterior` of `sliding_windows(make, size)`, of which `at_once` windows hold their graphs at a time.

    Each query costs one more pass through the network: the misfit's gradient in x0 is known once all windows have
    answered, and then goes back through a few of them after the other.
    """
    windows: list[Window] = []
    first: list[Guide] = []
    again: list[Guide] = []  # guides may count their queries, so the second pass has its own

    def guided(q: Query) -> Answers:
        if not windows:
            windows.extend(windows_of(q.x, size))
            first.extend(make(window.crop) for window in windows)
            again.extend(make(window.crop) for window in windows)
        inner = [g(Query(w.crop(q.x), q.t)) for g, w in zip(first, windows, strict=True)]
        x0 = blended((yield from together(inner)), windows, q.x)
        alpha, sigma = (float(level) for level in denoiser.schedule(q.t.double().reshape(1)))
        if alpha == 0 or sigma == 0:
            return x0
        variance = _variance(alpha, sigma, gain, noise, sigma_data)
        leaf = x0.detach().requires_grad_(True)
        with torch.enable_grad():
            error = ((measure(leaf) - known).square() / variance).sum() / 2
            (pull,) = torch.autograd.grad(error, leaf)
        pull, slope = pull / total_weight(windows, q.x), torch.zeros_like(q.x)
        for start in range(0, len(windows), at_once):
            some = slice(start, start + at_once)
            yield from _pulled_back(again[some], windows[some], q, pull, slope)
        return x0 - sigma**2 / alpha * slope

    return guided


def _pulled_back(
    guides: Sequence[Guide], windows: Sequence[Window], q: Query, pull: Tensor, slope: Tensor
) -> Generator[list[Call], list[Tensor], None]:
    """Add to `slope`, in place, what the gradient `pull` in x0 is in x through these windows."""
    parts = [w.crop(q.x).detach().requires_grad_(True) for w in windows]
    inner = [_differentiable(g, Query(x, q.t)) for g, x in zip(guides, parts, strict=True)]
    answers = yield from together(inner)
    with torch.enable_grad():
        pulls = [w.weights * w.crop(pull) for w in windows]
        total = torch.stack([(a * p).sum() for a, p in zip(answers, pulls, strict=True)]).sum()
        slopes = torch.autograd.grad(total, parts, retain_graph=True)
    for window, part in zip(windows, slopes, strict=True):
        window.add(slope, part)


def _variance(
    alpha: float, sigma: float, gain: float, noise: float | Tensor, sigma_data: float
) -> float | Tensor:
    """V, the variance of the misfit."""
    return gain * sigma_data**2 * sigma**2 / (alpha**2 * sigma_data**2 + sigma**2) + noise**2


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
