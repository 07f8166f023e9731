"""Work in the background: what becomes of it where the store refuses, or a client is quicker than it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from multigen.serving.api.background import Background
from multigen.serving.api.sharing import ASK, Sharing
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.store import Store
from multigen.serving.engine.ticket import Ticket


class Refusing(Store):
    """A store that takes no files beside records while `refuses`, or not before `open` is set."""

    refuses = False

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.open = threading.Event()
        self.open.set()

    def note(self, name: str, suffix: str, content: bytes) -> None:
        self.open.wait(10)
        if self.refuses and suffix != ".json":
            raise OSError("full")
        super().note(name, suffix, content)


class Ending:
    """An engine of which only `cancel` is asked."""

    def cancel(self, ticket: Ticket) -> None:
        ticket.end("cancelled")


class Case:
    """One job of a server."""

    def __init__(self, place: Path) -> None:
        self.store = Refusing(place)
        self.sharing = Sharing(self.store, beat=0.01)
        self.background = Background(self.store, self.sharing)
        self.ticket, self.name = Ticket("digits", "local", []), self.store.new_id("job")

    async def begin(self) -> None:
        async def keep(_: Ticket) -> tuple[dict[str, Any], dict[str, bytes]]:
            return {}, {}

        record = {"id": self.name, "owner": "local", "status": "queued", "began": 1.0}
        engine = cast(Engine, Ending())
        await self.background.begin(self.name, record, engine, self.ticket, keep, ask=b"x")

    async def ended(self) -> str:
        while self.background.get(self.name) is not None:
            await asyncio.sleep(0.01)
        return (self.store.get(self.name) or {})["status"]


def test_what_is_kept_stays_so_where_it_cannot_be_told(tmp_path: Path) -> None:
    async def run() -> None:
        case = Case(tmp_path)
        await case.begin()
        case.store.refuses = True
        case.ticket.end("done")
        assert await case.ended() == "completed"

    asyncio.run(run())


def test_what_could_not_begin_is_left_to_others(tmp_path: Path) -> None:
    async def run() -> None:
        case = Case(tmp_path)
        case.store.refuses = True
        with pytest.raises(OSError, match="full"):
            await case.begin()
        assert case.ticket.over and case.background.get(case.name) is None
        assert case.sharing.left({case.name: {ASK: 99.0}}) == [case.name]

    asyncio.run(run())


def test_a_cancel_while_it_begins_is_heard(tmp_path: Path) -> None:
    async def run() -> None:
        case = Case(tmp_path)
        case.store.open.clear()
        beginning = asyncio.create_task(case.begin())
        while case.background.get(case.name) is None:
            await asyncio.sleep(0.01)
        await case.background.cancel(case.name)
        assert case.ticket.over
        case.store.open.set()
        await beginning
        assert await case.ended() == "cancelled"

    asyncio.run(run())


def test_what_a_server_gives_back_it_takes_again_only_later(tmp_path: Path) -> None:
    async def run() -> None:
        store = Store(tmp_path)
        one, other = Sharing(store), Sharing(store)
        await one.keep("job_0123456789", b"x")
        await one.end("job_0123456789", free=True)
        assert one.left(store.ages()) == [] and other.left(store.ages()) == ["job_0123456789"]

    asyncio.run(run())
