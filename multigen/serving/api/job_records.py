"""Jobs that are kept: what they made, what a client sees of them, and their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.requests import Request as HttpRequest

from multigen.serving.api import sse
from multigen.serving.api.encoding import encoded
from multigen.serving.api.files import signed
from multigen.serving.api.job_events import event_data, live
from multigen.serving.api.sharing import UNDER_WAY
from multigen.serving.api.state import Caller, Server
from multigen.serving.api.uploads import Scratch
from multigen.serving.engine.ticket import Ticket

Record = dict[str, Any]
_SHOWN = ("id", "model", "n", "seed", "request", "error")


async def keep(
    server: Server, caller: Caller, job: str, ticket: Ticket, suffix: str, scratch: Scratch
) -> tuple[Record, Mapping[str, bytes]]:
    """What is added to the record of a job that is done; its media are files of their own.

    scratch  holds the sound of an edited video
    """
    rows: list[Record] = []
    for index in range(len(ticket.jobs)):
        medium = ticket.media[index]
        name = server.store.id_of("file", job, str(index))  # the same where it is made twice
        record = {"suffix": suffix, "owner": caller.key}
        await server.background.put(name, record, {suffix: await encoded(medium, suffix)})
        rows.append({"file": name, "index": index, "seed": medium.seed})
    return {"files": rows, "started": ticket.started}, {}


def shown(http: HttpRequest, server: Server, record: Record) -> Record:
    """A job as a client reads it."""
    work = server.background.get(record["id"])
    out = {
        "object": "job",
        "error": None,
        **{name: record[name] for name in _SHOWN if name in record},
        "status": record["status"],
        "progress": 1.0 if record["status"] == "completed" else 0.0,
        "created_at": int(record["began"]),
        "ended_at": int(record["ended"]) if record.get("ended") else None,
        "data": [_row(http, server, record, row) for row in record.get("files", ())],
    }
    if work is not None:
        return {**out, **live(work.ticket)}
    said = record.get("live") or {}
    return {**out, **{key: said[key] for key in ("status", "progress", "line", "steps") if key in said}}


async def events(http: HttpRequest, server: Server, record: Record, last: int) -> AsyncGenerator[bytes, None]:
    """What has happened to a job and what happens, after the event of the number `last`, to the end."""
    number, work = -1, server.background.get(record["id"])
    if work is not None:
        async for one in work.ticket.events():
            number += 1
            data = await event_data(work.ticket, one) if number > last else None
            if data is not None:
                yield sse.event(data, data["type"], number)
        if work.task is not None:
            await asyncio.wait([work.task])
    elif server.sharing is not None and record["status"] in UNDER_WAY:
        async for number, data in server.sharing.events(record["id"]):
            if number > last:
                yield sse.event(data, data["type"], number)
    found = await server.background.record(record["id"])
    if found is not None:
        job = shown(http, server, found)
        kind = "done" if job["status"] == "completed" else job["status"]
        yield sse.event({"type": kind, "job": job}, kind, max(number, last) + 1)


def _row(http: HttpRequest, server: Server, record: Record, row: Record) -> Record:
    url = signed(http, server, row["file"], record["format"])
    return {
        "index": row["index"],
        "seed": row["seed"],
        "url": url,
        "format": record["format"].removeprefix("."),
    }
