"""The process: models are loaded before it is ready, and a signal drains it before it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import time
import webbrowser
from types import FrameType

import uvicorn

from multigen.errors import MultigenError
from multigen.modalities.allocator import give_back
from multigen.serving.api.state import Server
from multigen.serving.engine.settings import Draining

log = logging.getLogger(__name__)
ANSWERS = 10  # s in which answers that are ready are still sent
TRIM = 50  # ticks, of a tenth of a second each, after which free memory is given back


def share_interpreter() -> None:
    """Let the event loop have its turn after a millisecond of another thread's Python, not after five."""
    sys.setswitchinterval(0.001)


class Process(uvicorn.Server):
    """uvicorn around one server.

    The first SIGTERM or SIGINT drains: nothing new is taken, what runs has `drain` seconds to end, and what is left
    fails with the reason. A second signal ends at once.

    first   ids of the models to load before the process is ready
    opened  an address to open in a browser when it listens
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server: Server,
        *,
        drain: float,
        first: list[str],
        opened: str | None = None,
    ) -> None:
        super().__init__(config)
        self._server, self._drain, self._first, self._opened = server, drain, first, opened
        self._signal = 0
        self._answered = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: MultigenError | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then load."""
        await super().startup(sockets)
        self._do(self._load())
        if self._opened is not None:
            await asyncio.to_thread(webbrowser.open, self._opened)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way first: uvicorn waits for answers, and these would wait for media."""
        await self._server.models.close("the server is ending")
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end at once where that has begun."""
        if self._signal:
            os._exit(128 + sig)  # the network's thread would hold an orderly end until its call is over
        self._signal = sig

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._signal and not self._server.draining:
            self._server.draining = True
            self._do(self._drained())
        answered = self.server_state.total_requests
        if counter % TRIM == 0 and answered != self._answered:
            self._answered = answered
            self._do(asyncio.to_thread(give_back))
        return await super().on_tick(counter)

    async def _load(self) -> None:
        """Load models, so that the first request does not wait for it."""
        try:
            for name in self._first:
                await self._server.models.engine(name)
        except Draining:
            pass  # the end came first
        except (MultigenError, OSError) as error:
            self.failure = error if isinstance(error, MultigenError) else MultigenError(str(error))
            self.should_exit = True
        finally:
            # What packages and models are made of stays: a full collection would look at all of it again, a fifth of a
            # second in which nobody is answered. So the last one is made now, of what each loading left, too.
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._server.loading = False

    async def _drained(self) -> None:
        """Let what runs end, for a while."""
        until = time.monotonic() + self._drain
        log.info("draining: what is under way has %.0f s to end", self._drain)
        while time.monotonic() < until and not self._idle():
            await asyncio.sleep(0.05)
        await self._server.models.close(
            f"the server is ending, and this did not end within {self._drain:.0f} s"
        )
        self.should_exit = True

    def _idle(self) -> bool:
        return self._server.active == 0 and all(engine.idle for engine in self._server.models.engines)

    def _do(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
