"""The processes that read uploads: a few that last, begun while the server is small."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from multigen.modalities.guard import Guard

P = ParamSpec("P")
T = TypeVar("T")
SECONDS = 60.0  # for one file
PROCESSES = 2


class Readers:
    """Decoders in processes of their own, each with one file at a time; whoever finds them busy waits in line.

    A fork copies the tables of a server's memory, during which nothing else of it runs: with models in it, a quarter
    of a second. So the processes are begun before the models are there, and stay.
    """

    def __init__(self, processes: int = PROCESSES, seconds: float = SECONDS) -> None:
        """`seconds`: what one file may take."""
        self._free = [Guard(seconds) for _ in range(processes)]
        self._all = tuple(self._free)
        self._places = asyncio.Semaphore(processes)

    async def start(self) -> None:
        """Begin the processes."""
        await asyncio.gather(*(asyncio.to_thread(guard.start) for guard in self._all))

    async def read(self, where: object, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in one of them, as a `Guard` does. MediaError for what crashes it or takes too long."""
        async with self._places:
            guard = self._free.pop()
            try:
                return await asyncio.to_thread(guard, where, function, *args, **kwargs)
            finally:
                self._free.append(guard)

    def close(self) -> None:
        """End the processes."""
        for guard in self._all:
            guard.close()
