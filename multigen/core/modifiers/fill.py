"""Fill a region, and limit guidance to a range of noise levels.

    fill      where(mask, known, D)
    interval  D if low <= log(alpha²/sigma²) <= high, else D_c

D is the inner guide's x0, D_c the conditional prediction. Kynkäänniemi et al. 2024 (arXiv:2404.07724), eq. 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Guide, Query, plain


def fill(guide: Guide, known: Tensor, mask: Tensor) -> Guide:
    """Keep x0 = known where mask is True (bool; both broadcast to x [B, C, *D]).

    Inpaints, outpaints, continues and predicts frames, in any modality.
    """

    def filled(q: Query) -> Answers:
        x0 = yield from guide(q)
        return torch.where(mask, known, x0)

    return filled


def interval(
    guide: Guide, cond: Cond, denoiser: Denoiser, *, low: float | None = None, high: float | None = None
) -> Guide:
    """Guide at log-SNRs from `low` to `high` only; elsewhere take the conditional prediction, which saves calls.

    Kynkäänniemi et al. 2024 (arXiv:2404.07724), eq. 6, in log(alpha²/sigma²). None: no bound.
    """
    unguided = plain(cond, cond)

    def limited(q: Query) -> Answers:
        snr = float(denoiser.schedule.log_snr(q.t.double().reshape(1)))
        inside = (low is None or snr >= low) and (high is None or snr <= high)
        return (yield from (guide if inside else unguided)(q))

    return limited
