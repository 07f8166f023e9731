"""Guides: coroutines that turn a sampler's query into network calls and their answers into one x0.

A guide is made once per trajectory. It yields a list of calls, receives the list of answers (x0, each of the
shape of its x), and returns the x0 that the sampler sees; it may yield several times, or not at all. Guides nest
with `yield from`. `scale = 1` means off.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.taps import Taps


class Query(NamedTuple):
    """What a sampler wants to know: x0 for x [B, C, *D] at time t (0-d float64 on the CPU)."""

    x: Tensor
    t: Tensor


class Call(NamedTuple):
    """One network call: x [B, C, *D] at t (0-d or [B], float64 on the CPU), cond of B rows or one -> x0.

    `denoiser`: another than the request's own (a weaker one, for autoguidance). `taps`: what is asked of the inside of
    its backbone; such calls merge only with their like. `grad`: x0 is differentiable in x;
    such calls merge only with their like and share one graph, so a guide must differentiate with
    `torch.autograd.grad(..., retain_graph=True)`, under `torch.enable_grad`.
    """

    x: Tensor
    t: Tensor
    cond: Cond
    grad: bool = False
    denoiser: Denoiser | None = None
    taps: Taps | None = None


Answers: TypeAlias = Generator[list[Call], list[Tensor], Tensor]
Guide: TypeAlias = Callable[[Query], Answers]


def plain(cond: Cond, null: Cond) -> Guide:
    """No guidance: the conditional answer."""

    def guide(q: Query) -> Answers:
        (answer,) = yield [Call(q.x, q.t, cond)]
        return answer

    return guide


def cfg(cond: Cond, null: Cond, *, scale: float = 3.0) -> Guide:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6, with scale = w + 1).

    Linear, so the same in every space. The conditional and the null call merge into one network call.
    """
    if scale == 1:
        return plain(cond, null)

    def guide(q: Query) -> Answers:
        with_, without = yield [Call(q.x, q.t, cond), Call(q.x, q.t, null)]
        return torch.lerp(without, with_, scale)

    return guide


def compose(
    cond: Cond,
    null: Cond,
    encode: Callable[[str], Cond],
    *,
    scale: float = 3.0,
    prompts: tuple[str, ...] = (),
    weights: tuple[float, ...] = (),
) -> Guide:
    """Several prompts at once, each with its weight, beside the request's own with `scale`; a negative one pushes away.

    null + scale (with - null) + sum_i weight_i (prompt_i - null), in any space (Liu et al. 2022, arXiv:2206.01714,
    eq. 11). All of it is one network call.
    """
    if len(prompts) != len(weights):
        raise ValueError(
            f"guide compose: {len(prompts)} prompts and {len(weights)} weights; give as many of each"
        )
    conds = [encode(prompt) for prompt in prompts]

    def guide(q: Query) -> Answers:
        with_, without, *others = yield [Call(q.x, q.t, c) for c in (cond, null, *conds)]
        answer = torch.lerp(without, with_, scale)
        for weight, other in zip(weights, others, strict=True):
            answer = answer + weight * (other - without)
        return answer

    return guide


def autoguidance(cond: Cond, load: Callable[[str], Denoiser], *, weights: str, scale: float = 2.0) -> Guide:
    """Away from what a weaker model makes of the same prompt: less trained, or smaller.

    weak + scale (strong - weak), in any space (Karras et al. 2024, arXiv:2406.02507, eq. 3). `weights`: a checkpoint
    of the same run, a run folder, a file.
    """
    if scale == 1:
        return plain(cond, cond)
    weaker = load(weights)

    def guide(q: Query) -> Answers:
        strong, weak = yield [Call(q.x, q.t, cond), Call(q.x, q.t, cond, denoiser=weaker)]
        return torch.lerp(weak, strong, scale)

    return guide


def apg(
    cond: Cond,
    null: Cond,
    *,
    scale: float = 3.0,
    parallel: float = 0.0,
    momentum: float = -0.5,
    norm: float | None = None,
) -> Guide:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416, algorithm 1), on x0.

    The difference with - without, to which the former one counts `momentum` times, is cut to the length `norm`; the
    part of it along the conditional answer, which saturates, counts `parallel` times. 1, 0 and null are plain cfg.
    """
    if scale == 1:
        return plain(cond, null)
    before: Tensor | None = None

    def guide(q: Query) -> Answers:
        nonlocal before
        with_, without = yield [Call(q.x, q.t, cond), Call(q.x, q.t, null)]
        apart = with_ - without
        if before is not None and momentum:
            apart = apart + momentum * before
        before = apart
        if norm is not None:
            length = _dot(apart, apart).sqrt()
            apart = apart * (norm / length.clamp_min(1e-12)).clamp_max(1)
        along = _dot(apart, with_) / _dot(with_, with_).clamp_min(1e-12) * with_
        return with_ + (scale - 1) * (apart - along + parallel * along)

    return guide


def cfg_zero(cond: Cond, null: Cond, denoiser: Denoiser, *, scale: float = 3.0, zero: int = 1) -> Guide:
    """CFG-Zero* (Fan et al. 2025, arXiv:2503.18886, eq. 9 and 11), on the velocity v = eps - x0.

    The null velocity is scaled to what of it lies along the conditional one; the first `zero` queries answer velocity
    zero, without a call, since there the network errs more than that.
    """
    if zero < 0:
        raise ValueError(f"guide cfg_zero: zero is a number of queries, 0 or more, not {zero}")
    asked = 0

    def guide(q: Query) -> Answers:
        nonlocal asked
        asked += 1
        alpha, sigma = (float(level) for level in denoiser.schedule(q.t.reshape(1)))
        if asked <= zero:
            return q.x / (alpha + sigma)
        answers = yield [Call(q.x, q.t, cond), Call(q.x, q.t, null)]
        with_, without = ((q.x - (alpha + sigma) * a) / sigma for a in answers)
        without = _dot(with_, without) / _dot(without, without).clamp_min(1e-12) * without
        return (q.x - sigma * torch.lerp(without, with_, scale)) / (alpha + sigma)

    return guide


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Of each sample [B, C, *D]: [B, 1, ...]."""
    return (a * b).flatten(1).sum(1).view(-1, *[1] * (a.ndim - 1))
