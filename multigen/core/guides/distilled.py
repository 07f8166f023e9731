"""Distilled guidance: the network was trained to make the guided prediction itself, and takes the scale as an input.

D(x, t, c, w)                Meng et al. 2022 (arXiv:2210.03142), section 3.1
"""

from __future__ import annotations

import torch

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides.calls import Guide
from multigen.core.guides.cfg import plain


def distilled(cond: Cond, denoiser: Denoiser, *, scale: float = 3.5) -> Guide:
    """Tell the network the guidance scale (Meng et al. 2022, arXiv:2210.03142, section 3.1): one call a query.

    Raises ValueError for a network that takes none; that is guided by cfg.
    """
    if not denoiser.backbone.distilled:
        raise ValueError("this network takes no guidance scale as an input; use the guide cfg")
    told = next((p for p in (cond.tokens, cond.vector, *cond.extra.values()) if p is not None), None)
    device = None if told is None else told.device
    with_scale = cond.with_extra("guidance", torch.full((1, 1), scale, device=device))
    return plain(with_scale, with_scale)
