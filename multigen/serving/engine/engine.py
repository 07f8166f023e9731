"""One model's engine: a task of the event loop that owns a batcher, whose network runs in a worker thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from multigen.core.sampling import Progress
from multigen.errors import MultigenError
from multigen.generation.batching import Batcher
from multigen.generation.parts import decode
from multigen.generation.plan import Job, jobs
from multigen.generation.request import Request
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.serving.engine.memory import Costs
from multigen.serving.engine.ticket import Event, Failure, Ticket
from multigen.serving.engine.turns import Turns
from multigen.serving.engine.watch import Watch

log = logging.getLogger(__name__)
T = TypeVar("T")


class Busy(MultigenError):
    """The queue is full: try again after `seconds`."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Draining(MultigenError):
    """The server is about to end and takes nothing new."""


@dataclass(frozen=True)
class Settings:
    """How an engine shares a model.

    max_batch  most media that share a network call
    max_queue  most media that wait; beyond it a request is refused
    memory     bytes that the samples of a call may take; None: no bound
    """

    max_batch: int = 16
    max_queue: int = 256
    memory: int | None = None


class Engine:
    """Makes the media of all tickets of one model.

    At each network call tickets may join and leave. Users take turns (`Turns`); what a call takes fits into memory.
    """

    def __init__(self, name: str, model: Model, worker: Executor, settings: Settings, watch: Watch) -> None:
        self.name, self.model, self.settings, self.watch = name, model, settings, watch
        self._worker = worker
        self._batcher = Batcher(model, [], settings.max_batch, self._saw)
        self._costs = Costs(model)
        self._turns = Turns()
        self._waiting: dict[int, Ticket] = {}
        self._under_way: dict[int, Ticket] = {}
        self._seen: list[tuple[int, int, Tensor | None]] = []  # of the call at hand: place, queries, x0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closing = False

    # --- what the server calls, in the event loop ------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.create_task(self._run(), name=f"engine of {self.name}")

    async def plan(self, request: Request, n: int) -> list[Job]:
        """Resolve a request. MultigenError for what does not fit the model or the memory."""
        self._refuse(n)
        planned = await self._off(lambda: jobs(self.model, [request], n, self.model.recipe.seed))
        if self.settings.memory is not None:
            await self._off(lambda: self._costs.check(planned[0], self.settings.memory or 0))
        return planned

    def submit(self, ticket: Ticket) -> Ticket:
        """Accept a ticket. Busy where the queue is full, Draining where the server is about to end."""
        self._refuse(len(ticket.jobs))
        places = self._batcher.add_jobs(ticket.jobs)
        ticket.line = len(self._waiting)
        for index, place in enumerate(places):
            ticket.places[place] = index
            self._waiting[place] = ticket
        self.watch.queued(self.name, len(self._waiting))
        ticket.say(Event("queued", data=ticket.line))
        self._wake.set()
        return ticket

    def cancel(self, ticket: Ticket, failure: Failure | None = None) -> None:
        """Take a ticket out at the next network call; nothing happens if it has ended."""
        if ticket.over:
            return
        for place in ticket.places:
            self._batcher.cancel(place)
            self._waiting.pop(place, None)
        self.watch.cancelled(self.name)
        ticket.end("cancelled" if failure is None else "failed", failure)
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._waiting and not self._under_way

    @property
    def waiting(self) -> int:
        """How many media wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many media are under way."""
        return len(self._under_way)

    async def close(self, reason: str) -> None:
        """End; what is under way fails with the reason."""
        self.closing = True
        for ticket in {*self._waiting.values(), *self._under_way.values()}:
            self.cancel(ticket, Failure("draining", reason))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- the task --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._expire()
            await self._begin()
            chosen = self._turns.share(self._by_key(self._under_way), self._most())
            if not chosen:
                self._wake.clear()
                if self.idle:
                    await self._wake.wait()
                continue
            await self._call(chosen)

    async def _call(self, chosen: Sequence[int]) -> None:
        """One network call, and what came of it."""
        begin, self._seen = time.monotonic(), []
        try:
            made, network = await self._off(lambda: self._step(chosen))
        except (
            Exception
        ) as error:  # whatever the network or a codec throws ends these tickets, not the server
            self._fail(chosen, error)
            return
        self.watch.called(self.name, len(chosen), time.monotonic() - begin, network)
        for place, queries, _ in self._seen:
            if (ticket := self._under_way.get(place)) is not None and not ticket.over:
                ticket.steps[ticket.places[place]] = queries
                ticket.say(Event("step", ticket.places[place], queries))
        for place, preview in await self._previews():
            ticket = self._under_way.get(place)
            if ticket is not None and not ticket.over:
                ticket.say(Event("preview", ticket.places[place], preview))
        for place, medium in made:
            self._finish(place, medium)
        for place in [p for p, ticket in self._under_way.items() if ticket.over]:
            self._leave(place)

    def _step(self, chosen: Sequence[int]) -> tuple[list[tuple[int, Media]], float]:
        """In the worker: the media that ended, and seconds in the network."""
        with self.watch.network(self.model) as clock:
            return self._batcher.step(chosen), clock.seconds

    def _saw(self, progress: Progress) -> None:
        """In the worker, after each answered query."""
        place = self._batcher.place_of(progress.sampling)
        if place is not None:
            self._seen.append((place, progress.queries, progress.x0))

    async def _previews(self) -> list[tuple[int, Media]]:
        """Previews that are due: each medium's, evenly spread over its steps, the first as early as there is one."""
        due: list[tuple[int, Tensor]] = []
        for place, queries, x0 in self._seen:
            ticket = self._under_way.get(place)
            if ticket is None or ticket.over or not ticket.previews or x0 is None:
                continue
            job = ticket.jobs[ticket.places[place]]
            calls = len(job.plan.ts) - 1 if job.plan.calls is None else job.plan.calls
            moments = {1 + k * calls // (ticket.previews + 1) for k in range(ticket.previews)}
            if queries in moments and queries < calls:
                due.append((place, x0))
        if not due:
            return []
        model = self.model

        def decoded() -> list[tuple[int, Media]]:
            return [(place, decode(model, x0[0], "", 0)) for place, x0 in due]

        return await self._off(decoded)

    async def _begin(self) -> None:
        """Let those begin whose turn it is, while there is room; a user who has nothing under way always gets in."""
        while self._waiting:
            waiting: dict[str, list[tuple[int, int]]] = {}
            for place, ticket in self._waiting.items():
                waiting.setdefault(ticket.key, []).append((ticket.priority, place))
            if len(self._under_way) >= self.settings.max_batch:
                there = self._by_key(self._under_way)
                waiting = {key: places for key, places in waiting.items() if key not in there}
            turn = self._turns.next(waiting)
            if turn is None:
                return
            place = turn[1]
            ticket = self._waiting.pop(place)
            self._under_way[place] = ticket
            try:
                await self._off(lambda place=place: self._batcher.begin(place))
            except Exception as error:
                self._fail([place], error)
                continue
            if ticket.state == "queued":
                ticket.state, ticket.started = "running", time.time()
                self.watch.waited(self.name, ticket.started - ticket.created)
                ticket.say(Event("running"))
        self.watch.queued(self.name, len(self._waiting))

    def _finish(self, place: int, medium: Media) -> None:
        ticket = self._under_way.get(place)
        if ticket is None or ticket.over:
            return
        index = ticket.places[place]
        ticket.media[index] = medium
        ticket.say(Event("medium", index, medium))
        self._leave(place)
        if len(ticket.media) == len(ticket.jobs):
            self.watch.made(self.name, len(ticket.jobs), time.time() - ticket.created, ticket.total)
            ticket.end("done")

    def _fail(self, places: Sequence[int], error: Exception) -> None:
        """End the tickets of some places with an error."""
        known = isinstance(error, MultigenError)
        if not known:
            log.exception("%s: a network call failed", self.name, exc_info=error)
        said = str(error) if known else "the server failed to make this; its log says why"
        for ticket in {self._under_way[place] for place in places if place in self._under_way}:
            self.cancel(ticket, Failure("invalid_request" if known else "server_error", said))
        for place in [p for p, ticket in self._under_way.items() if ticket.over]:
            self._leave(place)

    def _leave(self, place: int) -> None:
        ticket = self._under_way.pop(place, None)
        self._batcher.forget(place)
        if ticket is not None and not any(t.key == ticket.key for t in self._waiting.values()):
            self._turns.forget([ticket.key] if ticket.key not in self._by_key(self._under_way) else [])

    def _expire(self) -> None:
        """End those whose deadline has passed, and forget the waiting ones that were cancelled."""
        now = time.monotonic()
        for ticket in {*self._waiting.values(), *self._under_way.values()}:
            if ticket.deadline is not None and now > ticket.deadline:
                self.cancel(ticket, Failure("deadline", "the deadline of this request has passed"))
        for place in [p for p, ticket in self._under_way.items() if ticket.over]:
            self._batcher.cancel(place)
            self._leave(place)

    def _most(self) -> int:
        """How many samples may share a call, by memory."""
        if self.settings.memory is None or not self._under_way:
            return self.settings.max_batch
        ticket = next(iter(self._under_way.values()))
        return max(
            1, min(self.settings.max_batch, self.settings.memory // max(self._costs.of(ticket.jobs[0]), 1))
        )

    def _by_key(self, places: dict[int, Ticket]) -> dict[str, list[int]]:
        out: dict[str, list[int]] = {}
        for place, ticket in places.items():
            if not ticket.over:
                out.setdefault(ticket.key, []).append(place)
        return out

    def _refuse(self, n: int) -> None:
        if self.closing:
            raise Draining("the server is about to end and takes no new requests")
        if len(self._waiting) + n > self.settings.max_queue and self._waiting:
            seconds = self.watch.seconds_for(self.name, len(self._waiting))
            raise Busy(f"{self.name}: {len(self._waiting)} media wait already; try again later", seconds)

    async def _off(self, work: Callable[[], T]) -> T:
        """Do something in the worker thread."""
        loop = asyncio.get_running_loop()
        result: Any = await loop.run_in_executor(self._worker, work)
        return result
