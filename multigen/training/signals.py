"""SIGINT and SIGTERM as a wish to stop after the step in hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop(BaseException):
    """Raised by a signal in what need not be finished."""


class Caught(list[int]):
    """The signals that came."""

    interrupts = False

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """A signal, now or in the block, raises Stop: for what may take long and can be left out."""
        self.interrupts = True
        try:
            if self:
                raise Stop
            yield
        finally:
            self.interrupts = False


@contextmanager
def signals() -> Iterator[Caught]:
    """Collects SIGINT and SIGTERM instead of dying; a second one acts at once. Main thread only."""
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
    except ValueError:  # not the main thread: whoever runs us there handles signals
        before = {}
    try:
        yield caught
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
