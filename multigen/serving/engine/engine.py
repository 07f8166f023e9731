"""One model's engine: a task of the event loop that owns a batcher, whose network runs in a worker thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from multigen.generation.batching import Batcher, Step
from multigen.generation.finish import Unchecked
from multigen.generation.plan import Job, jobs
from multigen.generation.request import Request
from multigen.marks.media import key_for
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.serving.engine.finishing import Finishing
from multigen.serving.engine.memory import Costs
from multigen.serving.engine.places import by_key, candidates, due, previews, tell, tell_lines
from multigen.serving.engine.settings import Busy, Draining, Settings
from multigen.serving.engine.ticket import REFUSED, Event, Failure, Ticket, failure_of
from multigen.serving.engine.turns import Turns
from multigen.serving.engine.watch import Mark, Watch

log = logging.getLogger(__name__)
T = TypeVar("T")


class Engine:
    """Makes the media of all tickets of one model.

    At each network call tickets may join and leave. Users take turns (`Turns`); what a call takes fits into memory.

    finisher  the thread in which filters look at media; None: the worker
    rested    is called whenever nothing is left to do
    """

    def __init__(
        self,
        name: str,
        model: Model,
        worker: Executor,
        settings: Settings,
        watch: Watch,
        rested: Callable[[], None] = lambda: None,
        finisher: Executor | None = None,
    ) -> None:
        self.name, self.model, self.settings, self.watch = name, model, settings, watch
        self._worker, self._rested = worker, rested
        self._batcher = Batcher(model, [], settings.max_batch)
        key = key_for(model.recipe.watermark, public=settings.public)
        self._finishing = Finishing(finisher or worker, key, settings.max_batch)
        self._costs = Costs(model)
        self._turns = Turns()
        self._waiting: dict[int, Ticket] = {}
        self._under_way: dict[int, Ticket] = {}
        self._planning = 0  # media of requests that are being planned
        self._gone: set[int] = set()  # places that were cancelled while they waited
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing: str | None = None  # why it takes nothing new

    # --- what the server calls, in the event loop ------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.create_task(self._run(), name=f"engine of {self.name}")

    async def plan(self, request: Request, n: int) -> list[Job]:
        """Resolve a request. MultigenError for what does not fit the model or the memory."""
        self._refuse(n)
        self._planning += n
        try:
            return await self._off(lambda: self._planned(request, n))
        finally:
            self._planning -= n
            self._tell_rest()

    def _planned(self, request: Request, n: int) -> list[Job]:
        planned = jobs(self.model, [request], n, self.model.recipe.seed)
        self._costs.check(planned[0], self.settings.memory)
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
        return not (self._waiting or self._under_way or self._planning or self._finishing.tickets)

    @property
    def waiting(self) -> int:
        """How many media wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many media are under way."""
        return len(self._under_way) + len(self._finishing.tickets)

    async def close(self, reason: str) -> None:
        """End; what is under way fails with the reason."""
        self._closing = reason
        for ticket in self._tickets():
            self.cancel(ticket, Failure("draining", reason))
        # Its frames hold this engine, and with it the model: to drop it frees them without a collector.
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._finishing.close()
        self._under_way.clear()

    # --- the task --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except Exception as error:  # a fault of this server: it ends what is there
                for ticket in self._tickets():
                    self._fail(ticket, error)
                self._leave_ended()

    async def _turn(self) -> None:
        """Some begin, and a network call is made for those whose turn it is; if there are none, wait for some."""
        mark = self.watch.mark()
        self._wake.clear()  # first: what is cancelled from here on is seen in the next turn
        self._expire()
        if self._planning:  # what is planned by now joins this call: the worker does it in order
            await self._off(lambda: None)
        await self._begin()
        chosen = self._turns.share(by_key(self._under_way), self._most())
        if chosen:
            await self._call(chosen, mark)
            return
        if not self._under_way and (not self._waiting or self._finishing.full):
            self._tell_rest()
            await self._wake.wait()

    async def _call(self, chosen: Sequence[int], mark: Mark) -> None:
        """One network call, and what came of it. `mark`: when the preparations for it began."""
        step, network = await self._off(lambda: self._step(chosen))
        for place, queries, *_ in step.answered:
            if (ticket := self._under_way.get(place)) is not None and not ticket.over:
                ticket.steps[ticket.places[place]] = queries
                ticket.say(Event("step", ticket.places[place], queries))
        await self._show(step)
        self.watch.called(self.name, len(chosen), self.watch.since(mark, network), network)
        for place, made in step.ended:
            self._hand_over(place, made)
        self._leave_ended()

    def _step(self, chosen: Sequence[int]) -> tuple[Step, float]:
        """In the worker: what came of the call, and seconds in the network."""
        with self.watch.network(self.model) as clock:
            step = self._batcher.step(chosen)
        return step, clock.seconds

    async def _show(self, step: Step) -> None:
        """The previews that are due after a call, as far as the filters let them be seen."""
        rows = due(step.answered, self._under_way)
        for place, preview in await self._off(lambda: previews(rows)) if rows else []:
            if (ticket := self._under_way.get(place)) is not None:
                said = partial(tell, ticket, Event("preview", ticket.places[place], preview))
                self._finishing.show(preview, self.model.guard, said)

    async def _begin(self) -> None:
        """Let those begin whose turn it is, while there is room; a user who has nothing under way always gets in."""
        while self._waiting and not self._finishing.full:
            turn = self._turns.next(candidates(self._waiting, self._under_way, self.settings.max_batch))
            if turn is None:
                return
            place = turn[1]
            ticket = self._waiting.pop(place)
            self._under_way[place] = ticket
            ticket.begun[ticket.places[place]] = time.monotonic()
            try:
                await self._off(lambda place=place: self._batcher.begin(place))
            except Exception as error:
                self._fail(ticket, error)
                self._leave_ended()
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

    def _hand_over(self, place: int, made: Unchecked | Exception) -> None:
        """A medium leaves the network, and the filters look at it."""
        ticket = self._under_way.get(place)
        if ticket is not None and not ticket.over:
            self._leave([place])
            self._finishing.take(place, ticket, made, self._finished)

    def _finished(self, place: int, ticket: Ticket, medium: Media | Exception) -> None:
        self._wake.set()  # others may begin, or nothing is left
        if ticket.over:
            return
        if isinstance(medium, Exception):
            self._fail(ticket, medium)
            return
        index = ticket.places[place]
        ticket.media[index] = medium
        ticket.say(Event("medium", index, medium))
        took, steps = time.monotonic() - ticket.begun[index], len(ticket.jobs[index].plan.ts) - 1
        self.watch.made(self.name, took, steps)
        if len(ticket.media) == len(ticket.jobs):
            ticket.end("done")

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        """End a ticket with an error."""
        failure = failure_of(error)
        if failure.code not in ("invalid_request", REFUSED):
            log.error("%s: a request failed", self.name, exc_info=error)
        self.cancel(ticket, failure)

    def _leave_ended(self) -> None:
        """Free the places of tickets that have ended; `cancel` has told the batcher."""
        self._leave([place for place, ticket in self._under_way.items() if ticket.over])

    def _leave(self, places: Collection[int]) -> None:
        for place in places:
            self._under_way.pop(place, None)
        if places:
            self._batcher.forget(places)

    def _expire(self) -> None:
        """End those whose deadline has passed, and forget those that were cancelled."""
        now = time.monotonic()
        for ticket in self._tickets():
            if ticket.deadline is not None and now > ticket.deadline:
                self.cancel(ticket, Failure("deadline", "the deadline of this request has passed"))
        self._leave_ended()
        gone, self._gone = self._gone, set()
        self._leave(gone)
        self._turns.keep({ticket.key for ticket in self._tickets()})

    def _tickets(self) -> set[Ticket]:
        return {*self._waiting.values(), *self._under_way.values(), *self._finishing.tickets.values()}

    def _tell_rest(self) -> None:
        if self.idle:
            self._rested()

    def _most(self) -> int:
        """How many samples may share a call, by memory."""
        first = [ticket.jobs[0] for ticket in set(self._under_way.values())]
        return self._costs.most(first, self.settings.memory, self.settings.max_batch)

    def _refuse(self, n: int) -> None:
        if self._closing is not None:
            raise Draining(f"nothing new is taken: {self._closing}")
        there = len(self._waiting) + self._planning
        if there + n > self.settings.max_queue and there:
            seconds = self.watch.seconds_for(self.name, there)
            raise Busy(f"{self.name}: {there} media wait already; try again later", seconds)

    async def _off(self, work: Callable[[], T]) -> T:
        """Do something in the worker thread."""
        if self._closing is not None:  # the worker may have ended
            raise Draining(self._closing)
        loop = asyncio.get_running_loop()
        result: Any = await loop.run_in_executor(self._worker, work)
        return result
