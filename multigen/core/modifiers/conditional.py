"""The conditional prediction, taken from the calls that a guide makes anyway."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.guides import Call, Guide, Query, relayed


def with_conditional(
    guide: Guide, q: Query, cond: Cond, extra: Sequence[Call] = ()
) -> Generator[list[Call], list[Tensor], tuple[Tensor, Tensor | None, list[Tensor]]]:
    """Run a guide; return its x0, the conditional prediction if the guide asked for it, and the answers to `extra`.

    extra  further calls, made in the guide's first round
    """
    x0_cond: Tensor | None = None
    more: list[Tensor] | None = None

    def sent(calls: list[Call]) -> list[Call]:
        mine = list(extra) if more is None else []
        return [*calls, *mine]

    def answered(calls: list[Call], answers: list[Tensor]) -> list[Tensor]:
        nonlocal x0_cond, more
        more = answers[len(calls) :] if more is None else more
        answers = answers[: len(calls)]
        for call, answer in zip(calls, answers, strict=True):
            if _is_conditional(call, q, cond):
                x0_cond = answer
        return answers

    x0 = yield from relayed(guide(q), sent, answered)
    if more is None and extra:
        more = yield list(extra)
    return x0, x0_cond, more or []


def _is_conditional(call: Call, q: Query, cond: Cond) -> bool:
    return call.cond is cond and call.x is q.x and call.denoiser is None and call.taps is None
