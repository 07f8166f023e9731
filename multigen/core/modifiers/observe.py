"""Observe a guide: every query, its x0 and the conditional prediction, and what else is asked on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

from multigen.core.backbone import Maps, Taps
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Call, Guide, Query
from multigen.core.modifiers.conditional import with_conditional


class Observed(NamedTuple):
    """One answered query.

    query   the sampler's question
    x0      what the sampler gets, [B, C, *D]
    cond    the conditional prediction; None where the guide made no such call and nothing else was asked
    maps    attention to the tokens; None where it is not recorded
    others  x0 under each of the other conditions
    """

    query: Query
    x0: Tensor
    cond: Tensor | None
    maps: Maps | None
    others: Sequence[Tensor]


Observer: TypeAlias = Callable[[Observed], None]


def observe(
    guide: Guide,
    cond: Cond,
    denoiser: Denoiser,
    on_query: Observer,
    *,
    maps: bool = True,
    others: Sequence[Cond] = (),
) -> Guide:
    """Call `on_query` with every answered query.

    maps    record attention to the tokens, where the backbone gives access to it
    others  conditions whose predictions are also asked for

    Both take calls of their own, in a round after the guide's. So the guide's calls, the batches that they make and
    the sample are the same, to the bit, as without an observer.
    """
    records = maps and denoiser.backbone.attentions > 0 and cond.tokens is not None

    def observed(q: Query) -> Answers:
        found = Maps() if records else None
        x0, x0_cond, _ = yield from with_conditional(guide, q, cond)
        calls = [Call(q.x, q.t, other) for other in others]
        if found is not None:
            calls.append(Call(q.x, q.t, cond, taps=Taps(maps=found)))
        elif calls and x0_cond is None:
            calls.append(Call(q.x, q.t, cond))
        answers = (yield calls) if calls else []
        if len(answers) > len(others):
            x0_cond = answers[-1] if x0_cond is None else x0_cond
        on_query(Observed(q, x0, x0_cond, found, answers[: len(others)]))
        return x0

    return observed
