"""Media after the network: filters look at them and they are marked, in a thread that holds up no other media."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any

from multigen.generation.finish import Unchecked
from multigen.marks.media import marked
from multigen.modalities.media import Media
from multigen.safety.guard import Guard
from multigen.serving.engine.ticket import Ticket

log = logging.getLogger(__name__)
Then = Callable[[int, Ticket, Media | Exception], None]


class Finishing:
    """What is looked at now, one after another, so that a preview is shown before its medium.

    worker  the thread
    key     of the watermark; None: no medium has one
    most    media that are looked at before it is full
    """

    def __init__(self, worker: Executor, key: bytes | None, most: int) -> None:
        self._worker, self._key, self._most = worker, key, most
        self._tasks: set[asyncio.Task[None]] = set()
        self.tickets: dict[int, Ticket] = {}  # by their places

    @property
    def full(self) -> bool:
        """Whether so much is looked at that nothing new should begin: media are large."""
        return len(self.tickets) >= self._most

    def take(self, place: int, ticket: Ticket, made: Unchecked | Exception, then: Then) -> None:
        """Look at a medium, and mark it; or hand on why there is none.

        then  is called in the event loop with the place, the ticket, and the medium or why there is none
        """
        self.tickets[place] = ticket
        self._begin(self._finish(place, ticket, made, then))

    def show(self, preview: Media, guard: Guard, then: Callable[[], None]) -> None:
        """Call `then` for a preview that the filters would show."""
        self._begin(self._pass(preview, guard, then))

    async def close(self) -> None:
        """End; what comes of that which is looked at now is dropped."""
        self.tickets.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, place: int, ticket: Ticket, made: Unchecked | Exception, then: Then) -> None:
        def finished() -> Media | Exception:
            return made if isinstance(made, Exception) else marked(made.checked(), self._key)

        try:
            found = await asyncio.get_running_loop().run_in_executor(self._worker, finished)
        except Exception as error:
            found = error
        self.tickets.pop(place, None)
        then(place, ticket, found)

    async def _pass(self, preview: Media, guard: Guard, then: Callable[[], None]) -> None:
        try:
            if await asyncio.get_running_loop().run_in_executor(self._worker, guard.passes, preview):
                then()
        except Exception:
            log.exception("a preview could not be looked at")
