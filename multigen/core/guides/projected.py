"""Adaptive projected guidance: the part of guidance that saturates is weighted apart.

With the guidance difference and its momentum beta, limited to the length r,

    d_k = D_c - D_u + beta d_(k-1)
    d   = d_k min(1, r/|d_k|)

and its parts parallel and orthogonal to D_c,

    D_c + (w - 1) (d_orthogonal + eta d_parallel)

Sadat et al. 2024 (arXiv:2410.02416), algorithm 1, on x0.
"""

from __future__ import annotations

from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.guides.calls import Answers, Call, Guide, Query
from multigen.core.guides.cfg import plain


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

    scale     guidance scale w
    parallel  weight eta of the part parallel to the conditional prediction, which saturates
    momentum  weight beta of the previous difference
    norm      largest length r of the difference, in units of x0; None: no limit

    parallel 1, momentum 0 and norm None are plain `cfg`.
    """
    if scale == 1:
        return plain(cond, null)
    previous: Tensor | None = None

    def guide(q: Query) -> Answers:
        nonlocal previous
        x0_cond, x0_uncond = yield [Call(q.x, q.t, cond), Call(q.x, q.t, null)]
        difference = x0_cond - x0_uncond
        if previous is not None and momentum:
            difference = difference + momentum * previous
        previous = difference
        if norm is not None:
            length = dot(difference, difference).sqrt()
            difference = difference * (norm / length.clamp_min(1e-12)).clamp_max(1)
        along = dot(difference, x0_cond) / dot(x0_cond, x0_cond).clamp_min(1e-12) * x0_cond
        return x0_cond + (scale - 1) * (difference - along + parallel * along)

    return guide


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample [B, C, *D]: [B, 1, ...]."""
    return (a * b).flatten(1).sum(1).view(-1, *[1] * (a.ndim - 1))
