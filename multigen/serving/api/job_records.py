"""Jobs that are kept: what they made, what a client sees of them, and their events."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.requests import Request as HttpRequest

from multigen.serving.api import sse
from multigen.serving.api.background import Work
from multigen.serving.api.encoding import drawn, encoded
from multigen.serving.api.files import signed
from multigen.serving.api.state import Caller, Server
from multigen.serving.api.uploads import Scratch
from multigen.serving.engine.ticket import Event, Ticket

Record = dict[str, Any]
_SHOWN = ("id", "model", "n", "seed", "request", "error")
_STATES = {"running": "in_progress", "done": "in_progress"}  # what is made has its files yet to be written


async def keep(
    server: Server, caller: Caller, ticket: Ticket, suffix: str, scratch: Scratch
) -> tuple[Record, Mapping[str, bytes]]:
    """What is added to the record of a job that is done; its media are files of their own.

    scratch  holds the sound of an edited video
    """
    rows: list[Record] = []
    for index in range(len(ticket.jobs)):
        medium = ticket.media[index]
        name = server.store.new_id("file")
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
    return out if work is None else {**out, **_live(work)}


async def events(http: HttpRequest, server: Server, record: Record, last: int) -> AsyncGenerator[bytes, None]:
    """What has happened to a job and what happens, after the event of the number `last`, to the end."""
    number, work = -1, server.background.get(record["id"])
    if work is not None:
        async for one in work.ticket.events():
            number += 1
            data = await _event(work.ticket, one) if number > last else None
            if data is not None:
                yield sse.event(data, data["type"], number)
        if work.task is not None:
            await asyncio.wait([work.task])
    found = await server.background.record(record["id"])
    if found is not None:
        job = shown(http, server, found)
        kind = "done" if job["status"] == "completed" else job["status"]
        yield sse.event({"type": kind, "job": job}, kind, max(number, last) + 1)


async def _event(ticket: Ticket, one: Event) -> Record | None:
    """An event as a client reads it; None for the last, which is told with the job."""
    if one.kind == "queued":
        return {"type": "queued", "line": one.data}
    if one.kind == "running":
        return {"type": "running"}
    if one.kind == "step":
        return {"type": "step", "index": one.index, "step": one.data, "of": ticket.steps_of(one.index)}
    if one.kind == "preview":
        content = base64.b64encode(await drawn(one.data)).decode("ascii")
        return {"type": "preview", "index": one.index, "b64_json": content, "format": "png"}
    if one.kind == "medium":
        return {"type": "medium", "index": one.index, "seed": one.data.seed}
    return None


def _live(work: Work) -> Record:
    """What is true of a job under way at this moment."""
    ticket = work.ticket
    steps = [
        {"index": k, "step": ticket.steps.get(k, 0), "of": ticket.steps_of(k)}
        for k in range(len(ticket.jobs))
    ]
    return {
        "status": _STATES.get(ticket.state, ticket.state),
        "progress": round(ticket.progress, 3),
        "line": ticket.line if ticket.state == "queued" else 0,
        "steps": steps,
    }


def _row(http: HttpRequest, server: Server, record: Record, row: Record) -> Record:
    url = signed(http, server, row["file"], record["format"])
    return {
        "index": row["index"],
        "seed": row["seed"],
        "url": url,
        "format": record["format"].removeprefix("."),
    }
