"""Autoguidance: away from the prediction of a weaker network.

    D_weak + w (D_c - D_weak)

Karras et al. 2024 (arXiv:2406.02507), eq. 3; D_c is the conditional prediction of the network itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides.calls import Answers, Call, Guide, Query
from multigen.core.guides.cfg import plain


def autoguidance(cond: Cond, load: Callable[[str], Denoiser], *, weights: str, scale: float = 2.0) -> Guide:
    """Autoguidance (Karras et al. 2024, arXiv:2406.02507, eq. 3), by a network that is smaller or less trained.

    weights  the weaker network: a checkpoint of the same run, a run folder or a file
    load     loads a denoiser from `weights`
    """
    if scale == 1:
        return plain(cond, cond)
    weaker = load(weights)

    def guide(q: Query) -> Answers:
        strong, weak = yield [Call(q.x, q.t, cond), Call(q.x, q.t, cond, denoiser=weaker)]
        return torch.lerp(weak, strong, scale)

    return guide
