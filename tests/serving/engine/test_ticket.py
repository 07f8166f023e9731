"""Tickets: events for all who listen, one end, and what is said of errors."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from multigen.errors import MultigenError
from multigen.serving.engine.ticket import Event, Failure, Ticket, failure_of


def ticket(*queries: int) -> Ticket:
    jobs: Any = [SimpleNamespace(plan=SimpleNamespace(queries=n)) for n in queries]
    return Ticket("model", "key", jobs)


def test_all_listeners_hear_everything_from_the_beginning() -> None:
    async def work() -> None:
        one = ticket(2)

        async def listen() -> list[str]:
            return [event.kind async for event in one.events()]

        early = asyncio.create_task(listen())
        one.say(Event("queued"))
        await asyncio.sleep(0)
        middle = asyncio.create_task(listen())
        one.say(Event("running"))
        one.say(Event("step", 0, 1))
        await asyncio.sleep(0)
        one.end("done")
        expected = ["queued", "running", "step", "done"]
        for found in await asyncio.wait_for(asyncio.gather(early, middle, listen()), 30):
            assert found == expected

    asyncio.run(work())


def test_it_ends_once() -> None:
    one = ticket(2)
    one.end("failed", Failure("deadline", "too late"))
    one.end("done")
    assert (one.state, one.over, [event.kind for event in one._events]) == ("failed", True, ["failed"])
    assert one.failure == Failure("deadline", "too late") == one._events[0].data


def test_progress_is_a_share_of_all_queries() -> None:
    one = ticket(3, 5)
    assert (one.progress, one.total) == (0.0, 8)
    one.steps = {0: 3, 1: 1}
    assert one.progress == 0.5
    one.steps = {0: 3, 1: 9}  # a sampler that chooses its own steps
    assert one.progress == 0.99
    one.end("done")
    assert one.progress == 1.0


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MultigenError("steps: 0"), "invalid_request", "steps: 0"),
        (torch.OutOfMemoryError("at 0x7f"), "out_of_memory", "more memory than there is now"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory", "make it smaller"),
        (RuntimeError("/home/ana/secret.py"), "server_error", "its log says why"),
    ],
)
def test_errors_say_what_is_meant_for_users(error: Exception, code: str, said: str) -> None:
    failure = failure_of(error)
    assert failure.code == code and said in failure.message
    assert "/home" not in failure.message and "0x7f" not in failure.message
