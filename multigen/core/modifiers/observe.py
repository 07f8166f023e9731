"""Observe a guide: every query, its x0 and the conditional prediction, for previews and traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from multigen.core.backbone import Maps, Taps
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Guide, Query
from multigen.core.modifiers.conditional import with_conditional

Observer: TypeAlias = Callable[[Query, Tensor, Tensor | None, Maps | None], None]


def observe(guide: Guide, cond: Cond, denoiser: Denoiser, on_query: Observer, *, maps: bool = True) -> Guide:
    """Call `on_query` with every query, the guided x0, the conditional prediction and attention to the tokens.

    The last two are None where the guide makes no conditional call, or the backbone records no attention. The samples
    stay the same; the conditional call merges with no other.
    """
    records = maps and denoiser.backbone.attentions > 0 and cond.tokens is not None

    def observed(q: Query) -> Answers:
        maps = Maps() if records else None
        taps = None if maps is None else Taps(maps=maps)
        x0, x0_cond, _ = yield from with_conditional(guide, q, cond, taps=taps)
        on_query(q, x0, x0_cond, maps)
        return x0

    return observed
