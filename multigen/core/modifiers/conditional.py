"""The conditional prediction, taken from the calls that a guide makes anyway."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from torch import Tensor

from multigen.core.backbone import Taps
from multigen.core.conditioning import Cond
from multigen.core.guides import Call, Guide, Query


def with_conditional(
    guide: Guide, q: Query, cond: Cond, extra: Sequence[Call] = (), taps: Taps | None = None
) -> Generator[list[Call], list[Tensor], tuple[Tensor, Tensor | None, list[Tensor]]]:
    """Run a guide; return its x0, the conditional prediction if the guide asked for it, and the answers to `extra`.

    extra  further calls, made in the guide's first round
    taps   given to the conditional call
    """
    inner, x0_cond = guide(q), None
    more: list[Tensor] | None = None
    try:
        calls = next(inner)
        while True:
            mine = list(extra) if more is None else []
            tapped = [c._replace(taps=taps) if taps and _is_conditional(c, q, cond) else c for c in calls]
            answers = yield [*tapped, *mine]
            more = answers[len(calls) :] if more is None else more
            answers = answers[: len(calls)]
            for call, answer in zip(calls, answers, strict=True):
                if _is_conditional(call, q, cond):
                    x0_cond = answer
            calls = inner.send(answers)
    except StopIteration as stop:
        if more is None and extra:
            more = yield list(extra)
        return stop.value, x0_cond, more or []
    finally:
        inner.close()


def _is_conditional(call: Call, q: Query, cond: Cond) -> bool:
    return call.cond is cond and call.x is q.x and call.denoiser is None and call.taps is None
