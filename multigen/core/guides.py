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


class Query(NamedTuple):
    """What a sampler wants to know: x0 for x [B, C, *D] at time t (0-d float64 on the CPU)."""

    x: Tensor
    t: Tensor


class Call(NamedTuple):
    """One network call: x [B, C, *D] at t (0-d or [B], float64 on the CPU), cond of B rows or one -> x0.

    `denoiser`: another than the request's own (a weaker one, for autoguidance). `grad`: x0 is differentiable in x;
    such calls merge only with their like and share one graph, so a guide must differentiate with
    `torch.autograd.grad(..., retain_graph=True)`, under `torch.enable_grad`.
    """

    x: Tensor
    t: Tensor
    cond: Cond
    grad: bool = False
    denoiser: Denoiser | None = None


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


def fill(guide: Guide, known: Tensor, mask: Tensor) -> Guide:
    """Keep x0 = known where mask is True (bool; both broadcast to x [B, C, *D]).

    Inpaints, outpaints, continues and predicts frames, in any modality.
    """

    def filled(q: Query) -> Answers:
        answer = yield from guide(q)
        return torch.where(mask, known, answer)

    return filled
