"""Work that goes on when the request that began it has been answered: videos and jobs, with their records."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from multigen.serving.api.ask import Resumed
from multigen.serving.api.sharing import CANCEL, LIVE, UNDER_WAY, Sharing
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.store import Store
from multigen.serving.engine.ticket import Ticket
from multigen.serving.trace import tell_ticket

log = logging.getLogger(__name__)
KINDS = ("video", "job")
CANCELLED = {"status": "cancelled", "error": {"code": "cancelled", "message": "it was cancelled"}}
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
    abandoned: bool = False  # another server makes it now
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def wanted(self) -> bool:
        """Whether its record is for this server to write."""
        return not self.dropped and not self.abandoned

    async def end(self) -> None:
        """Cancel it, and wait until that is recorded."""
        self.engine.cancel(self.ticket)
        if self.task is not None:  # it has begun already
            await asyncio.wait([self.task])


class Background:
    """All that is under way, by the names of the records.

    sharing  with other servers of the store; None: this server has it for itself
    """

    def __init__(self, store: Store, sharing: Sharing | None = None) -> None:
        self.store, self.sharing = store, sharing
        self._work: dict[str, Work] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def begin(
        self,
        name: str,
        record: Record,
        engine: Engine,
        ticket: Ticket,
        keep: Keep,
        *,
        ask: bytes | None = None,
        resumed: Resumed | None = None,
    ) -> Record:
        """Keep a record, and follow its ticket to the end; the record, or the one that another server has begun.

        ask      the request, for a server that goes on with it
        resumed  the record is there: this server goes on with it
        """
        work = Work(engine, ticket, record)
        try:
            if self.sharing is not None and ask is not None:
                await self.sharing.keep(name, ask)
            if resumed is not None:
                before = await asyncio.to_thread(self.store.get, name) or record
                record = work.record = {**record, "began": before["began"]}
            elif not await asyncio.to_thread(self.store.create, name, record):
                engine.cancel(ticket)
                return await self.record(name) or record
            self._work[name] = work
            if self.sharing is not None:
                await self.sharing.begin(name, ticket, 0 if resumed is None else resumed.turn)
        except BaseException:
            self._work.pop(name, None)
            engine.cancel(ticket)
            raise
        work.task = asyncio.create_task(self._follow(name, work, keep), name=name)
        return record

    def get(self, name: str) -> Work | None:
        """What is under way of a record."""
        return self._work.get(name)

    async def record(self, name: str) -> Record | None:
        """A record, of what is under way or has ended; `live`: what another server says of what it makes."""
        work = self._work.get(name)
        if work is not None:
            return work.record
        return await asyncio.to_thread(self._read, name)

    async def records(self, kind: str, owner: str) -> list[Record]:
        """All records of a kind that an owner has, the newest first."""

        def read() -> list[Record]:
            found = [self._read(name) for name in self.store.names(kind)]
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
        if work is not None:
            await work.end()
        elif self.sharing is not None:
            await self._ask_to_cancel(name, self.sharing)

    async def drop(self, name: str) -> None:
        """End what is under way of a record, and forget it with its files."""
        work = self._work.get(name)
        if work is not None:
            work.dropped = True
            await work.end()
        else:
            record = await asyncio.to_thread(self.store.get, name)
            if record is not None and record.get("status") in UNDER_WAY:
                await self.cancel(name)
        await asyncio.to_thread(self.store.delete, name)

    async def abandon(self, name: str) -> None:
        """Let go of what another server makes now."""
        work = self._work.get(name)
        if work is not None:
            work.abandoned = True
            await work.end()

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """Two requests that begin the same record, here, go one after the other."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            try:
                yield
            finally:
                self._locks.pop(name, None)

    async def restore(self) -> None:
        """After a restart: what was under way has failed, and says so. Servers that share a store go on with it."""
        for kind in KINDS if self.sharing is None else ():
            for name in await asyncio.to_thread(self.store.names, kind):
                record = await asyncio.to_thread(self.store.get, name)
                if record is None or name in self._work:
                    continue
                if record.get("status") in UNDER_WAY:
                    why = "the server was restarted while this was under way; send it again"
                    await self.put(name, {**record, **failed("restarted", why)})

    async def finish(self) -> None:
        """Wait until all that is under way has its record; its tickets have ended."""
        tasks = [work.task for work in self._work.values() if work.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    async def _follow(self, name: str, work: Work, keep: Keep) -> None:
        """Wait for a ticket, keep its record, and say no more of it."""
        free = kept = False
        try:
            await work.ticket.wait()
            tell_ticket(work.ticket)
            failure = work.ticket.failure
            free = self.sharing is not None and failure is not None and failure.code == "draining"
            if not free and not work.abandoned:
                await self._keep(name, work, keep)
                kept = not work.abandoned
        finally:
            try:
                if self.sharing is not None:
                    await self.sharing.end(name, free=free, lost=not kept)
            finally:
                del self._work[name]

    async def _keep(self, name: str, work: Work, keep: Keep) -> None:
        """Keep the record of a ticket that has ended."""
        ticket, files = work.ticket, dict[str, bytes]()
        try:
            if ticket.state == "done" and not work.dropped:
                more, made = await keep(ticket)
                files.update(made)
                changes = {"status": "completed", "ended": time.time(), **more}
            elif ticket.failure is not None:
                changes = failed(ticket.failure.code, ticket.failure.message)
            else:
                changes = CANCELLED | {"ended": time.time()}
            if work.wanted:
                await self.put(name, {**work.record, **changes}, files)
        except Exception as error:
            log.exception("%s: what was made could not be kept", name, exc_info=error)
            changes = failed("server_error", "what was made could not be kept; the server's log says why")
            if work.wanted:
                await self.put(name, {**work.record, **changes})

    def _read(self, name: str) -> Record | None:
        record = self.store.get(name)
        if record is None or self.sharing is None or record.get("status") not in UNDER_WAY:
            return record
        return {**record, "live": self.store.data(name, LIVE)}

    async def _ask_to_cancel(self, name: str, sharing: Sharing) -> None:
        """Ask the server that makes something to end it; where nobody does, say so in its place."""
        await asyncio.to_thread(self.store.note, name, CANCEL, b"")
        until = time.monotonic() + sharing.lost + 2 * sharing.beat
        while time.monotonic() < until:
            record = await asyncio.to_thread(self.store.get, name)
            if record is None or record.get("status") not in UNDER_WAY:
                return
            await asyncio.sleep(sharing.beat / 4)
        record = await asyncio.to_thread(self.store.get, name)
        if record is not None:
            await self.put(name, {**record, **CANCELLED, "ended": time.time()})
        await sharing.clear(name)


def failed(code: str, message: str) -> Record:
    """What the record of a job says that has failed."""
    return {"status": "failed", "ended": time.time(), "error": {"code": code, "message": message}}
