"""Where a request's time goes, told to whoever traces it; nobody does unless that is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from multigen.serving.engine.ticket import Ticket

Value = str | int | float


class Trace(Protocol):
    """A request's trace. Times are time.time()."""

    def part(self, name: str, begin: float, end: float, attributes: Mapping[str, Value]) -> None:
        """A part of the request that is over, perhaps after the request itself."""

    def answered(self, *, method: str, route: str, status: int, id: str) -> None:
        """How the request was answered."""


TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)  # of the request at hand


def answered(*, method: str, route: str, status: int, id: str) -> None:
    """Tell how the request at hand was answered."""
    trace = TRACE.get()
    if trace is not None:
        trace.answered(method=method, route=route, status=status, id=id)


def tell_ticket(ticket: Ticket) -> None:
    """Tell of a ticket that has ended: how long it waited, and how long its media were being made."""
    trace = TRACE.get()
    if trace is None or ticket.ended is None:
        return
    started = ticket.ended if ticket.started is None else ticket.started
    trace.part("queue", ticket.created, started, {"model": ticket.model, "media": len(ticket.jobs)})
    if ticket.started is not None:
        how: dict[str, Value] = {"model": ticket.model, "state": ticket.state}
        trace.part("network", started, ticket.ended, {**how, "calls": sum(ticket.steps.values())})


@contextmanager
def timed(name: str, attributes: Mapping[str, Value] | None = None) -> Iterator[None]:
    """Tell of the block as a part of the request at hand."""
    trace, begin = TRACE.get(), time.time()
    try:
        yield
    finally:
        if trace is not None:
            trace.part(name, begin, time.time(), attributes or {})
