"""CFG-Zero*: classifier-free guidance of velocities, with an optimised unconditional scale.

    v = eps - x0 = (x - (alpha + sigma) x0)/sigma
    s = <v_c, v_u>/<v_u, v_u>
    v = s v_u + w (v_c - s v_u)            (Fan et al. 2025, arXiv:2503.18886, eq. 9 and 11)

The first queries answer v = 0, that is x0 = x/(alpha + sigma): there the network's error is larger than that.
"""

from __future__ import annotations

import torch

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides.calls import Answers, Call, Guide, Query
from multigen.core.guides.projected import dot


def cfg_zero(cond: Cond, null: Cond, denoiser: Denoiser, *, scale: float = 3.0, zero: int = 1) -> Guide:
    """CFG-Zero* (Fan et al. 2025, arXiv:2503.18886, eq. 9 and 11), on the velocity.

    `zero` is the number of first queries that are answered with velocity zero, without a call. Raises ValueError if
    it is below 0.
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
        v_cond, v_uncond = ((q.x - (alpha + sigma) * x0) / sigma for x0 in answers)
        v_uncond = dot(v_cond, v_uncond) / dot(v_uncond, v_uncond).clamp_min(1e-12) * v_uncond
        return (q.x - sigma * torch.lerp(v_uncond, v_cond, scale)) / (alpha + sigma)

    return guide
