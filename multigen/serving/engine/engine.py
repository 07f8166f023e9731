"""One model's engine: a task of the event loop that owns a batcher, whose network runs in a worker thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from multigen.core.sampling import Progress
from multigen.errors import MultigenError
from multigen.generation.batching import Batcher
from multigen.generation.parts import decode
from multigen.generation.plan import Job, jobs
from multigen.generation.request import Request
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.serving.engine.memory import Costs
from multigen.serving.engine.places import Seen, by_key, due, tell_lines
from multigen.serving.engine.ticket import Event, Failure, Ticket
from multigen.serving.engine.turns import Turns
from multigen.serving.engine.watch import Mark, Watch

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
        self._planning = 0  # media of requests that are being planned
        self._gone: set[int] = set()  # places that were cancelled while they waited
        self._seen: list[Seen] = []  # of the call at hand
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
        self._planning += n
        try:
            planned = await self._off(lambda: jobs(self.model, [request], n, self.model.recipe.seed))
            if (memory := self.settings.memory) is not None:
                await self._off(lambda: self._costs.check(planned[0], memory))
        finally:
            self._planning -= n
        return planned

    def submit(self, ticket: Ticket) -> Ticket:
        """Accept a ticket. Busy where the queue is full, Draining where the server is about to end."""
        self._refuse(len(ticket.jobs))
        places = self._batcher.add_jobs(ticket.jobs)
        for index, place in enumerate(places):
            ticket.places[place] = index
            self._waiting[place] = ticket
        ticket.line = self._lines()[places[0]]
        ticket.say(Event("queued", data=ticket.line))
        self._wake.set()
        return ticket

    def cancel(self, ticket: Ticket, failure: Failure | None = None) -> None:
        """Take a ticket out at the next network call; nothing happens if it has ended."""
        if ticket.over:
            return
        for place in ticket.places:
            if self._waiting.pop(place, None) is not None:
                self._gone.add(place)
            elif place in self._under_way:
                self._batcher.cancel(place)
        self.watch.ended(self.name, "client" if failure is None else failure.code)
        ticket.end("cancelled" if failure is None else "failed", failure)
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits, nothing is under way and nothing is being planned."""
        return not self._waiting and not self._under_way and not self._planning

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
            mark = self.watch.mark()
            self._expire()
            await self._begin()
            chosen = self._turns.share(by_key(self._under_way), self._most())
            if not chosen:
                self._wake.clear()
                if not self._waiting and not self._under_way:
                    await self._wake.wait()
                continue
            await self._call(chosen, mark)

    async def _call(self, chosen: Sequence[int], mark: Mark) -> None:
        """One network call, and what came of it. `mark`: when the preparations for it began."""
        self._seen = []
        try:
            made, network = await self._off(lambda: self._step(chosen))
        except Exception as error:  # of the network or a codec: it ends these tickets, not the server
            self._fail(chosen, error)
            return
        for place, queries, _ in self._seen:
            if (ticket := self._under_way.get(place)) is not None and not ticket.over:
                ticket.steps[ticket.places[place]] = queries
                ticket.say(Event("step", ticket.places[place], queries))
        for place, preview in await self._previews():
            ticket = self._under_way.get(place)
            if ticket is not None and not ticket.over:
                ticket.say(Event("preview", ticket.places[place], preview))
        self.watch.called(self.name, len(chosen), self.watch.since(mark, network), network)
        for place, medium in made:
            self._finish(place, medium)
        self._leave_ended()

    def _step(self, chosen: Sequence[int]) -> tuple[list[tuple[int, Media]], float]:
        """In the worker: the media that ended, and seconds in the network."""
        with self.watch.network(self.model) as clock:
            made = self._batcher.step(chosen)
        return made, clock.seconds

    def _saw(self, progress: Progress) -> None:
        """In the worker, after each answered query."""
        place = self._batcher.place_of(progress.sampling)
        if place is not None:
            self._seen.append(Seen(place, progress.queries, progress.x0))

    async def _previews(self) -> list[tuple[int, Media]]:
        """The previews that are due after a call."""
        rows = due(self._seen, self._under_way)
        model = self.model
        if not rows:
            return []
        return await self._off(lambda: [(place, decode(model, x0[0], "", 0)) for place, x0 in rows])

    async def _begin(self) -> None:
        """Let those begin whose turn it is, while there is room; a user who has nothing under way always gets in."""
        while self._waiting:
            waiting: dict[str, list[tuple[int, int]]] = {}
            for place, ticket in self._waiting.items():
                waiting.setdefault(ticket.key, []).append((ticket.priority, place))
            if len(self._under_way) >= self.settings.max_batch:
                there = by_key(self._under_way)
                waiting = {key: places for key, places in waiting.items() if key not in there}
            turn = self._turns.next(waiting)
            if turn is None:
                return
            place = turn[1]
            ticket = self._waiting.pop(place)
            self._under_way[place] = ticket
            ticket.begun[ticket.places[place]] = time.monotonic()
            try:
                await self._off(lambda place=place: self._batcher.begin(place))
            except Exception as error:
                self._fail([place], error)
                continue
            if ticket.state == "queued":
                ticket.state, ticket.started = "running", time.time()
                self.watch.waited(self.name, ticket.started - ticket.created)
                ticket.say(Event("running"))
        tell_lines(self._waiting, self._lines())

    def _lines(self) -> dict[int, int]:
        """How many media begin before each that waits."""
        return self._turns.lines(
            (ticket.key, ticket.priority, place) for place, ticket in self._waiting.items()
        )

    def _finish(self, place: int, medium: Media) -> None:
        ticket = self._under_way.get(place)
        if ticket is None or ticket.over:
            return
        index = ticket.places[place]
        ticket.media[index] = medium
        ticket.say(Event("medium", index, medium))
        self._leave(place)
        took, steps = time.monotonic() - ticket.begun[index], len(ticket.jobs[index].plan.ts) - 1
        self.watch.made(self.name, took, steps)
        if len(ticket.media) == len(ticket.jobs):
            ticket.end("done")

    def _fail(self, places: Sequence[int], error: Exception) -> None:
        """End the tickets of some places with an error."""
        known = isinstance(error, MultigenError)
        if not known:
            log.exception("%s: a network call failed", self.name, exc_info=error)
        said = str(error) if known else "the server failed to make this; its log says why"
        for ticket in {self._under_way[place] for place in places if place in self._under_way}:
            self.cancel(ticket, Failure("invalid_request" if known else "server_error", said))
        self._leave_ended()

    def _leave(self, place: int) -> None:
        self._under_way.pop(place, None)
        self._batcher.forget(place)

    def _leave_ended(self) -> None:
        """Free the places of tickets that have ended; `cancel` has told the batcher."""
        for place in [p for p, ticket in self._under_way.items() if ticket.over]:
            self._leave(place)

    def _expire(self) -> None:
        """End those whose deadline has passed, and forget those that were cancelled."""
        now = time.monotonic()
        for ticket in {*self._waiting.values(), *self._under_way.values()}:
            if ticket.deadline is not None and now > ticket.deadline:
                self.cancel(ticket, Failure("deadline", "the deadline of this request has passed"))
        self._leave_ended()
        gone, self._gone = self._gone, set()
        for place in gone:
            self._batcher.forget(place)
        there = {ticket.key for ticket in (*self._waiting.values(), *self._under_way.values())}
        self._turns.keep(there)

    def _most(self) -> int:
        """How many samples may share a call, by memory."""
        if self.settings.memory is None or not self._under_way:
            return self.settings.max_batch
        largest = max(self._costs.of(ticket.jobs[0]) for ticket in set(self._under_way.values()))
        return max(1, min(self.settings.max_batch, self.settings.memory // max(largest, 1)))

    def _refuse(self, n: int) -> None:
        if self.closing:
            raise Draining("the server is about to end and takes no new requests")
        there = len(self._waiting) + self._planning
        if there + n > self.settings.max_queue and there:
            seconds = self.watch.seconds_for(self.name, there)
            raise Busy(f"{self.name}: {there} media wait already; try again later", seconds)

    async def _off(self, work: Callable[[], T]) -> T:
        """Do something in the worker thread."""
        loop = asyncio.get_running_loop()
        result: Any = await loop.run_in_executor(self._worker, work)
        return result
