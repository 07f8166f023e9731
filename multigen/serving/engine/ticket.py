"""Tickets: what became of a request that was accepted."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from multigen.core.drive import is_out_of_memory
from multigen.errors import MultigenError
from multigen.generation.plan import Job
from multigen.modalities.media import Media
from multigen.safety import Blocked

State = Literal["queued", "running", "done", "failed", "cancelled"]
REFUSED = "content_policy_violation"  # as OpenAI's clients know it
ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Failure:
    """Why a request was not met.

    code     for programs: "invalid_request", "content_policy_violation", "deadline", "draining", "out_of_memory",
             "server_error"
    message  for people
    """

    code: str
    message: str


def failure_of(error: Exception) -> Failure:
    """What is said of an error. Its own words only where they are meant for users."""
    if isinstance(error, MultigenError):
        return Failure(REFUSED if isinstance(error, Blocked) else "invalid_request", str(error))
    if is_out_of_memory(error):
        said = "this needs more memory than there is now; make it smaller, or try again later"
        return Failure("out_of_memory", said)
    return Failure("server_error", "the server failed to make this; its log says why")


@dataclass(frozen=True)
class Event:
    """What happened to a ticket.

    kind      "queued", "running", "step", "preview", "medium", "done", "failed" or "cancelled"
    index     of the medium among those of the request, where it is about one
    data      place in line; steps made and of how many; a medium
    """

    kind: str
    index: int = 0
    data: Any = None


@dataclass(eq=False)
class Ticket:
    """A request under way.

    key       whose it is: users take turns by it
    jobs      what is to be made, one for each medium
    priority  0 or more; tickets of a higher one begin first
    deadline  time.monotonic() after which nobody wants it; None: no such time
    previews  how many previews of each medium are wanted
    """

    model: str
    key: str
    jobs: Sequence[Job]
    priority: int = 0
    deadline: float | None = None
    previews: int = 0
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: float = field(default_factory=time.time)
    state: State = "queued"
    failure: Failure | None = None
    places: dict[int, int] = field(default_factory=dict)  # of the batcher -> index of the medium
    media: dict[int, Media] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)  # queries answered, by the index of the medium
    begun: dict[int, float] = field(default_factory=dict)  # time.monotonic() by the index of the medium
    line: int = 0  # how many media stand before its first
    started: float | None = None
    ended: float | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _events: list[Event] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Queries that all media take; those of samplers that choose their own steps count as their grid says."""
        return sum(self.steps_of(index) for index in range(len(self.jobs)))

    def steps_of(self, index: int) -> int:
        """Queries that one medium takes."""
        return self.jobs[index].plan.queries

    @property
    def progress(self) -> float:
        """Share that is done, 0 to 1."""
        if self.state == "done":
            return 1.0
        return min(sum(self.steps.values()) / max(self.total, 1), 0.99)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    def say(self, event: Event) -> None:
        """Tell whoever listens. In the event loop alone."""
        self._events.append(event)
        self._changed.set()

    def end(self, state: State, failure: Failure | None = None) -> None:
        """End it, once."""
        if self.over:
            return
        self.state, self.failure, self.ended = state, failure, time.time()
        self.say(Event(state, data=failure))

    async def events(self) -> AsyncIterator[Event]:
        """What happens from now on and what has happened, to the end."""
        seen = 0
        while True:
            self._changed.clear()
            while seen < len(self._events):
                event = self._events[seen]
                seen += 1
                yield event
                if event.kind in ENDED:
                    return
            if seen >= len(self._events):
                await self._changed.wait()

    async def wait(self) -> None:
        """Wait for its end."""
        async for _ in self.events():
            pass
