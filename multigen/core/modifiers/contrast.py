"""Undo what strong guidance does to contrast: rescale, dynamic thresholding and clipping.

    rescale    F <- F (1 + share (std(F_c)/std(F) - 1))
    threshold  x0 <- clamp(x0, -q, q) limit/q    if q = quantile(|x0|) > limit
    clip       x0 <- clamp(x0, -limit, limit)

for each sample, with F and F_c the guided and the conditional output of the network. Lin et al. 2023
(arXiv:2305.08891), eq. 15 and 16; Saharia et al. 2022 (arXiv:2205.11487), section 2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Guide, Query
from multigen.core.modifiers.conditional import with_conditional


def rescale(guide: Guide, cond: Cond, denoiser: Denoiser, *, share: float = 0.7) -> Guide:
    """Bring the guided output's standard deviation back to that of the conditional output, by `share` (0 is off).

    Lin et al. 2023 (arXiv:2305.08891), eq. 15 and 16, in F space. Raises ValueError unless share is 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"modifier rescale: share is from 0 to 1, not {share}")

    def rescaled(q: Query) -> Answers:
        x0, x0_cond, _ = yield from with_conditional(guide, q, cond)
        if x0_cond is None or x0_cond is x0 or not share:
            return x0
        out, wanted = (denoiser.output(q.x, q.t, a) for a in (x0, x0_cond))
        factor = _deviation(wanted) / _deviation(out).clamp_min(1e-12)
        return denoiser.from_output(q.x, q.t, out * (1 + share * (factor - 1)))

    return rescaled


def threshold(guide: Guide, *, quantile: float = 0.995, limit: float = 1.0) -> Guide:
    """Clip x0 at a quantile of its absolute values and scale it back to `limit`: dynamic thresholding.

    Saharia et al. 2022 (arXiv:2205.11487), section 2.3. `limit` is the range of model space; samples within it stay as
    they are. Raises ValueError for a quantile outside (0, 1] or a limit that is not above 0.
    """
    if not 0 < quantile <= 1 or limit <= 0:
        raise ValueError(f"modifier threshold: quantile is in (0, 1], limit above 0, not {quantile}, {limit}")

    def limited(q: Query) -> Answers:
        x0 = yield from guide(q)
        # Sorted, because torch.quantile takes at most 16 million numbers.
        sizes = x0.abs().flatten(1).sort(1).values
        bound = sizes[:, round(quantile * (sizes.shape[1] - 1))].clamp_min(limit)
        bound = bound.view(-1, *[1] * (x0.ndim - 1))
        return torch.where(bound > limit, x0.clamp(-bound, bound) * (limit / bound), x0)

    return limited


def clip(guide: Guide, *, limit: float = 1.0) -> Guide:
    """Clip x0 to the range of model space (Ho et al. 2020, arXiv:2006.11239, their code), of pixels 1.

    Raises ValueError for a limit that is not above 0.
    """
    if not limit > 0:
        raise ValueError(f"modifier clip: limit is above 0, not {limit}")

    def clipped(q: Query) -> Answers:
        x0 = yield from guide(q)
        return x0.clamp(-limit, limit)

    return clipped


def _deviation(x: Tensor) -> Tensor:
    """Standard deviation of each sample: [B, 1, ...]."""
    return x.flatten(1).std(1).view(-1, *[1] * (x.ndim - 1))
