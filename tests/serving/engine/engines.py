"""Engines for tests: a tiny network, no threads, and what shared each of its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from typing import Any

import torch

from multigen.core.conditioning import Cond
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.settings import Settings
from multigen.serving.engine.ticket import Ticket
from multigen.serving.engine.watch import Watch
from tests.model.test_model import small

TINY = ["backbone.widths=[8,8]", "backbone.attention=[false,false]", "guide.name=plain", "sampler.name=ddim"]


def tiny() -> Model:
    """An untrained model of digits with one call a step."""
    return small("image_digits", TINY)


class Inline(Executor):
    """Does the work at once, so that nothing is left to chance."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Calls(Watch):
    """The sizes of the network calls, and what an engine tells."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.early: list[str] = []

    def called(self, model: str, samples: int, seconds: float, network: float) -> None:
        super().called(model, samples, seconds, network)
        self.sizes.append(samples)

    def ended(self, model: str, reason: str) -> None:
        super().ended(model, reason)
        self.early.append(reason)


@asynccontextmanager
async def engine(
    model: Model, calls: Calls | None = None, finisher: Executor | None = None, **settings: Any
) -> AsyncIterator[Engine]:
    """An engine that runs inside the block. In the end nothing may be left in it."""
    one = Engine("digits", model, Inline(), Settings(**settings), calls or Calls(), finisher=finisher)
    one.start()
    try:
        yield one
        await ended(one)
        assert empty(one)
    finally:
        await one.close("the test is over")


async def ended(one: Engine) -> None:
    """Wait until nothing waits or runs."""
    for ticket in one._tickets():
        await ticket.wait()
    one._expire()


def empty(one: Engine) -> bool:
    """Whether no place is held anywhere."""
    batcher = one._batcher
    held = (batcher.jobs, batcher._under_way, batcher._waiting, batcher._cancelled, batcher._ended)
    return one.idle and not any(held) and not batcher._driver.samplings


async def ask(one: Engine, request: Request, n: int = 1, key: str = "local", **more: Any) -> Ticket:
    """Submit a request."""
    return one.submit(Ticket("digits", key, await one.plan(request, n), **more))


def at_call(model: Model, monkeypatch: Any, then: Callable[[int, Cond], None]) -> list[int]:
    """Before each network call do something with its number and condition. The samples of each."""
    sizes: list[int] = []
    forward = model.denoiser.forward

    def forwarded(x: torch.Tensor, t: torch.Tensor, cond: Cond, **more: Any) -> torch.Tensor:
        sizes.append(len(x))
        then(len(sizes), cond)
        return forward(x, t, cond, **more)

    monkeypatch.setattr(model.denoiser, "forward", forwarded)
    return sizes
