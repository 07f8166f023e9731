"""SIGINT and SIGTERM as a wish to stop after the step in hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying; a second one acts at once. Main thread only."""
    caught: list[int] = []
    before: dict[int, Any] = {}

    def note(signum: int, frame: object) -> None:
        if caught:
            signal.signal(signum, before[signum])
            signal.raise_signal(signum)
        caught.append(signum)

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
