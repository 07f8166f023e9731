"""From a request to its media: submit, wait, and let go when the client does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from starlette.requests import Request as HttpRequest

from multigen.errors import MultigenError
from multigen.generation.plan import Job
from multigen.generation.request import Request
from multigen.generation.written import check_written
from multigen.modalities import Modality
from multigen.modalities.media import Media
from multigen.modalities.pace import said
from multigen.serving.api.errors import ApiError, failed
from multigen.serving.api.option_media import with_media
from multigen.serving.api.sampling import Sampling, loras_of
from multigen.serving.api.state import Caller, Limits, Server
from multigen.serving.api.units import units_of
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.models import Served
from multigen.serving.engine.ticket import Ticket
from multigen.serving.trace import tell_ticket


def whose(caller: Caller, user: str | None) -> Caller:
    """The caller, told apart from other users of its key where the request says who they are."""
    return caller if user is None else replace(caller, key=f"{caller.key}/{user}")


async def submit(
    server: Server,
    caller: Caller,
    served: Served,
    given: Sampling,
    request: Request | Sequence[Request],
    n: int,
    *,
    previews: int = 0,
    suffix: str | None = None,
) -> tuple[Engine, Ticket]:
    """Accept a request, or several as one. ApiError and MultigenError for what cannot be met, before anything is made.

    n       media of each request
    suffix  of the files that they become, where that is known
    """
    requests = [request] if isinstance(request, Request) else request
    if not 1 <= n * len(requests) <= server.limits.n:
        each = f" of each of {len(requests)}" if len(requests) > 1 else ""
        text = f"n: {n}{each}; allowed: 1 to {server.limits.n}"
        raise ApiError(400, text, param="n", code="invalid_value")
    if given.priority > caller.priority:
        text = f"priority: {given.priority}; this key may ask for {caller.priority} at most"
        raise ApiError(403, text, param="priority", code="priority_not_allowed")
    requests = [await with_media(one, served, server) for one in requests]
    engine = await server.models.engine(served.id, loras_of(given, server), fast=given.fast)
    jobs = [job for one in requests for job in await engine.plan(one, n)]
    for job in jobs:
        _check_length(job, server.limits, engine.model.modality)
    if suffix is not None:
        await asyncio.to_thread(check_written, engine.model, [job.plan for job in jobs[::n]], suffix)
    units = sum(units_of(engine.model, job) for job in jobs)
    caller.budget.units.take(units)
    deadline = None if given.deadline is None else time.monotonic() + given.deadline
    ticket = Ticket(served.id, caller.key, jobs, given.priority, deadline, previews)
    try:
        return engine, engine.submit(ticket)
    except MultigenError:  # the queue is full, or the server is about to end
        caller.budget.units.give_back(units)
        raise


def _check_length(job: Job, limits: Limits, modality: Modality) -> None:
    """ApiError for a medium that its prompt makes longer than one may be; what a request says was checked before."""
    duration = None if job.plan.request is None else job.plan.request.duration
    if duration is not None and duration > limits.seconds:
        long, most = said(modality, round(duration)), said(modality, limits.seconds)
        text = f"prompt: it takes {long}; at most {most} are made at once"
        raise ApiError(400, text, param="prompt", code="invalid_value")


async def media_of(http: HttpRequest | None, engine: Engine, ticket: Ticket) -> list[Media]:
    """Wait for a ticket's media. A client that goes away frees its places. ApiError for a ticket that failed.

    http  None: what waits is closed when the client goes away
    """
    async with released(http, engine, ticket):
        await ticket.wait()
    if ticket.failure is not None:
        raise failed(ticket.failure)
    if ticket.state != "done":
        raise ApiError(499, "the request was cancelled", code="cancelled")
    return [ticket.media[k] for k in range(len(ticket.jobs))]


@asynccontextmanager
async def released(http: HttpRequest | None, engine: Engine, ticket: Ticket) -> AsyncIterator[None]:
    """Cancel the ticket if the block ends before it does, or as soon as the client goes away."""
    watching = None if http is None else asyncio.create_task(_gone(http, engine, ticket))
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
        engine.cancel(ticket)
        tell_ticket(ticket)


async def _gone(http: HttpRequest, engine: Engine, ticket: Ticket) -> None:
    while True:
        message = await http.receive()
        if message["type"] == "http.disconnect":
            engine.cancel(ticket)
            return
