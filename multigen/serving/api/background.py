"""Work that goes on when the request that began it has been answered: videos and jobs, with their records."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from multigen.serving.engine.engine import Engine
from multigen.serving.engine.store import Store
from multigen.serving.engine.ticket import Ticket

log = logging.getLogger(__name__)
KINDS = ("video", "job")
UNDER_WAY = ("queued", "in_progress", "running")
Record = dict[str, Any]
# Makes of a record and a ticket that is done what is added to the record, and its files by suffix.
Keep = Callable[[Ticket], Awaitable[tuple[Record, Mapping[str, bytes]]]]


@dataclass(eq=False)
class Work:
    """A ticket under way, and the record that it ends in."""

    engine: Engine
    ticket: Ticket
    record: Record
    dropped: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Background:
    """All that is under way, by the names of the records."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._work: dict[str, Work] = {}
        self._again: dict[tuple[str, str], str] = {}  # owner and idempotency key -> name
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def begin(self, name: str, record: Record, engine: Engine, ticket: Ticket, keep: Keep) -> None:
        """Keep a record, and follow its ticket to the end."""
        work = self._work[name] = Work(engine, ticket, record)
        try:
            await self.put(name, record)
        except BaseException:
            del self._work[name]
            engine.cancel(ticket)
            raise
        work.task = asyncio.create_task(self._follow(name, work, keep), name=name)

    def get(self, name: str) -> Work | None:
        """What is under way of a record."""
        return self._work.get(name)

    async def record(self, name: str) -> Record | None:
        """A record, of what is under way or has ended."""
        work = self._work.get(name)
        return work.record if work is not None else await asyncio.to_thread(self.store.get, name)

    async def records(self, kind: str, owner: str) -> list[Record]:
        """All records of a kind that an owner has, the newest first."""

        def read() -> list[Record]:
            found = [self.store.get(name) for name in self.store.names(kind)]
            return [one for one in found if one is not None and one["owner"] == owner]

        rows = {one["id"]: one for one in await asyncio.to_thread(read)}
        rows.update({name: work.record for name, work in self._work.items() if name in rows})
        return sorted(rows.values(), key=lambda one: (one["began"], one["id"]), reverse=True)

    async def put(self, name: str, record: Record, files: Mapping[str, bytes] | None = None) -> None:
        """Keep a record and files of it."""
        await asyncio.to_thread(self.store.put, name, record, files)

    async def cancel(self, name: str) -> None:
        """End what is under way of a record, which says so."""
        work = self._work.get(name)
        if work is not None and work.task is not None:
            work.engine.cancel(work.ticket)
            await asyncio.wait([work.task])

    async def drop(self, name: str) -> None:
        """End what is under way of a record, and forget it with its files."""
        work = self._work.get(name)
        if work is not None:
            work.dropped = True
            work.engine.cancel(work.ticket)
            if work.task is not None:
                await asyncio.wait([work.task])
        await asyncio.to_thread(self.store.delete, name)

    def lock(self, owner: str, key: str) -> asyncio.Lock:
        """Two requests of one idempotency key go one after the other."""
        return self._locks.setdefault((owner, key), asyncio.Lock())

    def known(self, owner: str, key: str) -> str | None:
        """The record that an idempotency key began."""
        return self._again.get((owner, key))

    def remember(self, owner: str, key: str, name: str | None) -> None:
        """Which record an idempotency key began; None: it failed."""
        if name is not None:
            self._again[owner, key] = name
        self._locks.pop((owner, key), None)

    async def restore(self) -> None:
        """After a restart: what was under way has failed, and says so; idempotency keys hold."""
        for kind in KINDS:
            for name in await asyncio.to_thread(self.store.names, kind):
                record = await asyncio.to_thread(self.store.get, name)
                if record is None or name in self._work:
                    continue
                if record.get("idempotency"):
                    self._again[record["owner"], record["idempotency"]] = name
                if record.get("status") in UNDER_WAY:
                    why = "the server was restarted while this was under way; send it again"
                    await self.put(name, {**record, **_failed("restarted", why)})

    async def finish(self) -> None:
        """Wait until all that is under way has its record; its tickets have ended."""
        tasks = [work.task for work in self._work.values() if work.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    async def _follow(self, name: str, work: Work, keep: Keep) -> None:
        files: Mapping[str, bytes] = {}
        ticket = work.ticket
        try:
            await ticket.wait()
            if ticket.state == "done" and not work.dropped:
                more, files = await keep(ticket)
                changes = {"status": "completed", "ended": time.time(), **more}
            elif ticket.failure is not None:
                changes = _failed(ticket.failure.code, ticket.failure.message)
            else:
                changes = _failed("cancelled", "it was cancelled") | {"status": "cancelled"}
            if not work.dropped:
                await self.put(name, {**work.record, **changes}, files)
        except Exception as error:
            log.exception("%s: what was made could not be kept", name, exc_info=error)
            changes = _failed("server_error", "what was made could not be kept; the server's log says why")
            await self.put(name, {**work.record, **changes})
        finally:
            del self._work[name]


def _failed(code: str, message: str) -> Record:
    return {"status": "failed", "ended": time.time(), "error": {"code": code, "message": message}}
