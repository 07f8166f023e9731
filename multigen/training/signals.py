"""SIGINT and SIGTERM as requests to stop after the current step."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop(BaseException):
    """Raised by a signal inside `Caught.interrupting`."""


class Caught(list[int]):
    """The signals received so far."""

    interrupts = False

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise Stop for a signal received before or inside the block, which may take long and need not be finished."""
        self.interrupts = True
        try:
            if self:
                raise Stop
            yield
        finally:
            self.interrupts = False


@contextmanager
def signals() -> Iterator[Caught]:
    """Collect SIGINT and SIGTERM inside the block; a second one acts at once. Only in the main thread."""
    caught = Caught()
    before: dict[int, Any] = {}

    def note(signum: int, frame: object) -> None:
        if caught:
            signal.signal(signum, before[signum])
            signal.raise_signal(signum)
        caught.append(signum)
        if caught.interrupts:
            raise Stop

    try:
        for s in (signal.SIGINT, signal.SIGTERM):
            before[s] = signal.signal(s, note)
    except ValueError:  # not the main thread: the caller handles signals
        before = {}
    try:
        yield caught
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
