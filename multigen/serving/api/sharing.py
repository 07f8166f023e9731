"""Servers that share a store: each job is made by one of them, all know of it, and what one leaves another finishes.

Beside the record `<id>.json` of what is under way stand: `.ask`, the request; `.live`, what its maker says every
second; `.cancel`, where a client wants no more of it; `.free`, where its maker handed it back; `.c1`, `.c2` ..., that
it was taken over, of which each can be made once, with the number of makers that fell silent; `.p1`, `.p2` ..., its
previews.

A maker that says nothing for `lost` seconds is gone, and another server answers the request anew, under the same name
and with the same seed. Two that make the same, as after a pause of one, write the same files.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from multigen.serving.api.inline import Inline
from multigen.serving.api.job_events import event_data, live
from multigen.serving.engine.store import Store
from multigen.serving.engine.ticket import Ticket

log = logging.getLogger(__name__)
UNDER_WAY = ("queued", "in_progress", "running")
ASK, LIVE, CANCEL, FREE = ".ask", ".live", ".cancel", ".free"
_OURS = re.compile(r"\.(ask|live|cancel|free|[cp]\d+)")
_CLAIM = re.compile(r"\.c(\d+)")
Ages = dict[str, dict[str, float]]


@dataclass(eq=False)
class Told:
    """What is said of one job that this server makes."""

    name: str
    ticket: Ticket
    turn: int
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # events, of steps the last
    previews: int = 0
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)  # what is said last stays


class Sharing:
    """What one server says and hears of jobs through a store.

    beat  s between the words of a maker
    lost  s of silence after which it is gone
    """

    def __init__(self, store: Store, *, beat: float = 1.0, lost: float = 15.0) -> None:
        self.store, self.beat, self.lost = store, beat, lost
        self.by = secrets.token_hex(8)
        self._told: dict[str, Told] = {}
        self._freed: dict[str, float] = {}  # jobs that this server gave back -> when it may take them again
        self._tasks: set[asyncio.Task[None]] = set()

    async def keep(self, name: str, ask: bytes) -> None:
        """Keep the request of a job, before the record that says that there is one."""
        await asyncio.to_thread(self.store.claim, name, ASK, ask)

    async def begin(self, name: str, ticket: Ticket, turn: int) -> None:
        """Say that this server makes a job."""
        told = self._told[name] = Told(name, ticket, turn)
        try:
            await self._say(told)
        except BaseException:
            del self._told[name]  # of what nobody makes nothing is said: another may
            raise
        told.task = asyncio.create_task(self._listen(told), name=f"events of {name}")

    async def end(self, name: str, *, free: bool = False, lost: bool = False) -> None:
        """Say no more of a job: it has its record; `free`: another may make it; `lost`: another makes it."""
        told = self._told.pop(name, None)
        if told is not None and told.task is not None:
            await asyncio.wait([told.task])
        if free:
            self._freed[name] = time.monotonic() + self.lost
            await asyncio.to_thread(self.store.note, name, FREE, b"")
        elif not lost:
            if told is not None:
                await self._say(told)
            task = asyncio.create_task(self._cleared(name), name=f"leftovers of {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _cleared(self, name: str) -> None:
        """Drop what was said of a job when those who listen have heard it."""
        await asyncio.sleep(3 * self.beat)
        await self.clear(name)

    async def clear(self, name: str) -> None:
        """Drop what was said of a job."""

        def work() -> None:
            for suffix in self.store.ages().get(name, {}):
                if _OURS.fullmatch(suffix):
                    self.store.remove(name, suffix)

        await asyncio.to_thread(work)

    async def said(self) -> tuple[Ages, list[str], list[str]]:
        """Say how the jobs of this server are; all files by name, and who is unwanted, and who was taken over."""
        ages = await asyncio.to_thread(self.store.ages)
        unwanted, taken = [], []
        for name, told in list(self._told.items()):
            there = ages.get(name, {})
            if self._told.get(name) is not told:
                continue  # it has ended meanwhile
            if CANCEL in there:
                unwanted.append(name)
            elif _turn(there) > told.turn:
                taken.append(name)
            else:
                await self._say(told)
        return ages, unwanted, taken

    def left(self, ages: Ages) -> list[str]:
        """The jobs that nobody makes, but for those that this server has just given back."""
        now, found = time.monotonic(), []
        self._freed = {name: until for name, until in self._freed.items() if until > now and name in ages}
        for name, there in ages.items():
            if name in self._told or name in self._freed or ASK not in there:
                continue
            signs = [
                age for suffix, age in there.items() if suffix in (ASK, LIVE) or _CLAIM.fullmatch(suffix)
            ]
            newest = min(signs)
            if newest > self.lost or FREE in there:
                found.append(name)
        return found

    async def claim(self, name: str, there: dict[str, float]) -> tuple[int, int] | None:
        """Take over a job, if no other server was quicker.

        The how-manieth makes it, and how many of those before fell silent instead of handing it back.
        """
        turn = _turn(there) + 1

        def work() -> tuple[int, int] | None:
            before = self.store.read(name, f".c{turn - 1}") or b""
            silent = (int(before) if before.isdigit() else 0) + (FREE not in there)
            if not self.store.claim(name, f".c{turn}", str(silent).encode()):
                return None
            self.store.remove(name, FREE)
            return turn, silent

        return await asyncio.to_thread(work)

    async def events(self, name: str) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """The events of a job that another server makes, with their numbers, as it tells them, to the end."""
        last, over = -1, False
        while not over:
            record = await asyncio.to_thread(self.store.get, name)
            over = record is None or record.get("status") not in UNDER_WAY
            said = await asyncio.to_thread(self.store.data, name, LIVE)
            for number, data in said["events"] if said else ():
                if number > last:
                    last = number
                    yield number, await self._whole(name, data)
            if not over:
                await asyncio.sleep(self.beat / 2)

    async def _whole(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        """An event with its picture."""
        if "file" not in data:
            return data
        content = await asyncio.to_thread(self.store.read, name, data["file"])
        rest = {key: value for key, value in data.items() if key != "file"}
        return {**rest, "b64_json": Inline(content or b"")}

    async def _listen(self, told: Told) -> None:
        number = -1
        async for one in told.ticket.events():
            number += 1
            data = await event_data(told.ticket, one)
            if data is None:
                continue
            if data["type"] == "preview":
                told.previews += 1
                data["file"] = f".p{told.previews}"
                content = data.pop("b64_json").content
                try:
                    await asyncio.to_thread(self.store.note, told.name, data["file"], content)
                except Exception as error:  # without this one, then
                    log.exception("a preview of %s", told.name, exc_info=error)
                    continue
            if data["type"] == "step":
                same = {"type": "step", "index": data["index"]}
                told.rows = [row for row in told.rows if not same.items() <= row[1].items()]
            told.rows.append((number, data))

    async def _say(self, told: Told) -> None:
        async with told.lock:
            said = {**live(told.ticket), "by": self.by, "turn": told.turn, "events": told.rows}
            await asyncio.to_thread(self.store.note, told.name, LIVE, json.dumps(said).encode())


def _turn(there: dict[str, float]) -> int:
    """How many servers have taken over a job, by its files."""
    return max((int(found[1]) for suffix in there if (found := _CLAIM.fullmatch(suffix))), default=0)
