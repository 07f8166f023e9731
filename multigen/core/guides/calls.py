"""What guides are made of: queries of a sampler, calls of a network, and several guides run together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

from multigen.core.backbone import Taps
from multigen.core.circles import OPEN, Closed
from multigen.core.conditioning import Cond
from multigen.core.deep import Reuse
from multigen.core.denoiser import Denoiser


class Query(NamedTuple):
    """A sampler's question: x0 for x [B, C, *D] at time t (0-d float64 on the CPU).

    aside  x is no sample that is made, but what conditions one
    """

    x: Tensor
    t: Tensor
    aside: bool = False


class Call(NamedTuple):
    """One network call; its answer is x0.

    x         [B, C, *D]
    t         0-d or [B], float64 on the CPU
    cond      conditions of B rows, or of one
    grad      x0 is differentiable in x. Such calls merge only with their like and share one graph, so a guide must
              differentiate with torch.autograd.grad(..., retain_graph=True), under torch.enable_grad
    denoiser  another network than the request's own, such as a weaker one for autoguidance
    taps      changes or records inside the backbone; such calls merge only with their like
    closed    axes along which the network takes x as a circle; such calls merge only with their like
    reuse     what it shares with other calls of its trajectory; calls with `grad`, or `taps` into layers, share nothing
    """

    x: Tensor
    t: Tensor
    cond: Cond
    grad: bool = False
    denoiser: Denoiser | None = None
    taps: Taps | None = None
    reuse: Reuse | None = None
    closed: Closed = OPEN


Answers: TypeAlias = Generator[list[Call], list[Tensor], Tensor]
Guide: TypeAlias = Callable[[Query], Answers]


def with_calls(guide: Guide, change: Callable[[Call], Call]) -> Guide:
    """A guide whose calls are changed on their way to the network; their answers are not."""

    def guided(q: Query) -> Answers:
        def sent(calls: list[Call]) -> list[Call]:
            return [change(call) for call in calls]

        return (yield from relayed(guide(q), sent, lambda calls, answers: answers))

    return guided


def relayed(
    inner: Answers,
    sent: Callable[[list[Call]], list[Call]],
    answered: Callable[[list[Call], list[Tensor]], list[Tensor]],
) -> Answers:
    """Run a guide's coroutine to its end with other calls and other answers.

    sent      makes of the calls of a round those that are asked
    answered  makes of the calls of a round, and of the answers to what was asked, the answers to the calls
    """
    try:
        calls = next(inner)
        while True:
            answers = yield sent(calls)
            calls = inner.send(answered(calls, answers))
    except StopIteration as stop:
        return stop.value
    finally:
        inner.close()


def together(guides: Sequence[Answers]) -> Generator[list[Call], list[Tensor], list[Tensor]]:
    """Run several started guides side by side and return their x0; each round yields the calls of all."""
    results: dict[int, Tensor] = {}
    waiting: dict[int, list[Call]] = {}

    def resume(number: int, answers: list[Tensor] | None) -> None:
        waiting.pop(number, None)
        try:
            guide = guides[number]
            waiting[number] = next(guide) if answers is None else guide.send(answers)
        except StopIteration as stop:
            results[number] = stop.value

    try:
        for number in range(len(guides)):
            resume(number, None)
        while waiting:
            order = list(waiting)
            counts = [len(waiting[number]) for number in order]
            answers = yield [call for number in order for call in waiting[number]]
            for number, count in zip(order, counts, strict=True):
                resume(number, answers[:count])
                answers = answers[count:]
        return [results[number] for number in range(len(guides))]
    finally:
        for guide in guides:
            guide.close()
