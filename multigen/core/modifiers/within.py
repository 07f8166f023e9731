"""Keep strong guidance within what the network was trained on.

In weak noise the sample is decided, and what a network says with and without its condition differs little. A large
guidance scale enlarges that difference, errors and all, until x0 lies where no training sample was: colours turn. With
D the guided and D_c the conditional prediction, and |.| the root mean square of a sample,

    D <- D_c    from the first log(alpha²/sigma²) >= 0 on where |D - D_c| > limit |D_c|
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Guide, Query
from multigen.core.modifiers.conditional import with_conditional

# Of the conditional prediction. Guidance at the scales that recipes have stays below half of it.
LIMIT = 0.15


def within(guide: Guide, cond: Cond, denoiser: Denoiser, *, limit: float = LIMIT) -> Guide:
    """End guidance where it moves x0 far from the conditional prediction in weak noise, log-SNR 0 and more.

    limit  of the conditional prediction's root mean square; below it nothing changes

    Raises ValueError unless the limit is above 0.
    """
    if not limit > 0:
        raise ValueError(f"modifier within: limit is above 0, not {limit}")

    beyond: Tensor | None = None  # [B], the samples whose guidance has ended

    def limited(q: Query) -> Answers:
        nonlocal beyond
        x0, x0_cond, _ = yield from with_conditional(guide, q, cond)
        if x0_cond is None or x0_cond is x0 or not _decided(denoiser, q):
            return x0
        far = moved(x0, x0_cond) > limit
        beyond = far if beyond is None else beyond | far
        return torch.where(beyond.view(-1, *[1] * (x0.ndim - 1)), x0_cond, x0)

    return limited


def watch(guide: Guide, cond: Cond, denoiser: Denoiser, note: Callable[[Tensor, float], None]) -> Guide:
    """Call `note` (how far, log-SNR) with how far guidance moves x0, [B], as `within` counts it.

    Only the first query in weak noise is looked at. How far stays on the device: whoever reads it waits for that.
    """
    looked = False

    def watched(q: Query) -> Answers:
        nonlocal looked
        if looked or not _decided(denoiser, q):
            return (yield from guide(q))
        looked = True
        x0, x0_cond, _ = yield from with_conditional(guide, q, cond)
        if x0_cond is not None and x0_cond is not x0:
            note(moved(x0, x0_cond), _log_snr(denoiser, q))
        return x0

    return watched


def moved(x0: Tensor, x0_cond: Tensor) -> Tensor:
    """How far guidance moved each sample from the conditional prediction, relative to its root mean square: [B]."""
    far, size = (one.flatten(1).square().mean(1).sqrt() for one in (x0 - x0_cond, x0_cond))
    return far / size.clamp_min(1e-12)


def _decided(denoiser: Denoiser, q: Query) -> bool:
    return _log_snr(denoiser, q) >= 0


def _log_snr(denoiser: Denoiser, q: Query) -> float:
    return float(denoiser.schedule.log_snr(q.t.double().reshape(1)))  # on the CPU, as q.t is
