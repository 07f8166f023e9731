"""Guides: coroutines that turn a sampler's query into network calls and their answers into one x0.

A guide is made once per trajectory. It yields a list of calls, receives the list of answers (x0, each of the shape
of its x), and returns the x0 that the sampler sees. Guides nest with `yield from`. `scale = 1` means off.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from multigen.core.conditioning import Cond


class Query(NamedTuple):
    """What a sampler wants to know: x0 for x [B, C, *D] at time t (0-d float64 on the CPU)."""

    x: Tensor
    t: Tensor


class Call(NamedTuple):
    """One network call for B samples. Calls with taps or grad merge only with their like.

    `taps` names what the backbone should record or change on the way; `grad`: x0 is differentiable in x.
    """

    x: Tensor
    t: Tensor
    cond: Cond
    taps: tuple[str, ...] = ()
    grad: bool = False


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
    """Keep x0 = known where mask (bool, broadcast to x): inpaint, continue, predict frames, in any modality."""

    def filled(q: Query) -> Answers:
        answer = yield from guide(q)
        return torch.where(mask, known, answer)

    return filled
