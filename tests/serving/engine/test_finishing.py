"""Filters look at media beside the network: they hold up no others, and nothing is handed out before they have."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.generation.finish import Unchecked
from multigen.generation.request import Request
from multigen.marks import detect
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.recipe.sections import Safety
from multigen.registry import Part
from multigen.safety import Action, Finding
from multigen.safety.guard import Guard
from multigen.serving.engine.finishing import Finishing
from multigen.serving.engine.ticket import Ticket
from tests.serving.engine.engines import Calls, ask, engine, tiny


class Gate:
    """A filter that looks for as long as its gate is shut, and then refuses nothing."""

    reads = ("image",)
    action: Action = "block"
    open = threading.Event()
    seen: list[str] = []  # noqa: RUF012 (a test clears it)

    def look(self, content: str | Tensor) -> Finding | None:
        Gate.seen.append(threading.current_thread().name)
        assert Gate.open.wait(20)
        return None


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    one = tiny()
    monkeypatch.setitem(registry._registered, ("filter", "gate"), Gate)
    one.guard = Guard(Safety((Part("gate"),)), "digits")
    Gate.open.clear()
    Gate.seen.clear()
    yield one
    Gate.open.set()


def run(work: Callable[[ThreadPoolExecutor], Coroutine[Any, Any, None]]) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="finishing") as pool:
        try:
            asyncio.run(asyncio.wait_for(work(pool), 30))
        finally:
            Gate.open.set()


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


def test_others_are_made_while_a_filter_looks(model: Model) -> None:
    async def work(pool: ThreadPoolExecutor) -> None:
        calls = Calls()
        async with engine(model, calls, pool, max_batch=4) as one:
            first = await ask(one, Request("3", seed=1, steps=2))
            await until(lambda: bool(Gate.seen))
            assert not first.media and first.state == "running" and one.running == 1 and not one.idle
            before = len(calls.sizes)
            second = await ask(one, Request("5", seed=2, steps=6))
            await until(lambda: second.steps.get(0) == 6)
            assert len(calls.sizes) == before + 6
            assert not first.media and not second.media  # nobody has them before a filter has seen them
            Gate.open.set()
            await first.wait()
            await second.wait()
            assert first.state == second.state == "done"
            assert all(name.startswith("finishing") for name in Gate.seen)

    run(work)


def test_nothing_begins_while_filters_have_too_much_to_look_at(model: Model) -> None:
    async def work(pool: ThreadPoolExecutor) -> None:
        calls = Calls()
        async with engine(model, calls, pool, max_batch=1) as one:
            first = await ask(one, Request("3", seed=1, steps=2))
            await until(lambda: bool(Gate.seen))
            second = await ask(one, Request("5", seed=2, steps=2))
            await asyncio.sleep(0.1)
            assert second.state == "queued" and len(calls.sizes) == 2
            Gate.open.set()
            await second.wait()
            assert first.state == second.state == "done"

    run(work)


def test_who_cancels_while_a_filter_looks_gets_nothing(model: Model) -> None:
    async def work(pool: ThreadPoolExecutor) -> None:
        async with engine(model, None, pool) as one:
            ticket = await ask(one, Request("3", seed=1, steps=1))
            await until(lambda: bool(Gate.seen))
            one.cancel(ticket)
            assert ticket.state == "cancelled"
            Gate.open.set()
            await until(lambda: one.idle)
            assert not ticket.media

    run(work)


def test_media_are_marked_and_previews_are_not() -> None:
    """The mark is for what is handed out whole; a preview is an estimate that nobody keeps."""
    key = bytes(range(16))
    picture = torch.full((3, 64, 64), 0.2)
    medium = Media(picture, Image(size=64))
    found: dict[str, Tensor] = {}

    async def work(pool: ThreadPoolExecutor) -> None:
        one = Finishing(pool, key, 4)
        guard = Guard(Safety(), "digits")
        one.show(medium, guard, lambda: found.update(preview=medium.tensor))
        ended = asyncio.Event()

        def then(place: int, ticket: Ticket, made: Media | Exception) -> None:
            assert isinstance(made, Media) and list(found) == ["preview"]  # which came first
            found["medium"] = made.tensor
            ended.set()

        one.take(0, Ticket("digits", "local", []), Unchecked(medium, (), guard), then)
        await ended.wait()

    run(work)
    assert detect(found["medium"], key=key).p_value < 1e-6
    assert detect(found["preview"], key=key).p_value > 1e-6 and torch.equal(found["preview"], picture)


def test_closing_waits_for_no_filter(model: Model) -> None:
    async def work(pool: ThreadPoolExecutor) -> None:
        async with engine(model, None, pool) as one:
            ticket = await ask(one, Request("3", seed=1, steps=1))
            await until(lambda: bool(Gate.seen))
            await one.close("the end")
            assert ticket.state == "failed" and not ticket.media

    run(work)
