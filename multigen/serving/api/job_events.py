"""What happens to a job, as its client reads it."""

from __future__ import annotations

from typing import Any

from multigen.serving.api.encoding import drawn
from multigen.serving.api.inline import Inline
from multigen.serving.engine.ticket import Event, Ticket

STATES = {"running": "in_progress", "done": "in_progress"}  # what is made has its files yet to be written


async def event_data(ticket: Ticket, one: Event) -> dict[str, Any] | None:
    """An event as a client reads it; None for the last, which is told with the job."""
    if one.kind == "queued":
        return {"type": "queued", "line": one.data}
    if one.kind == "running":
        return {"type": "running"}
    if one.kind == "step":
        return {"type": "step", "index": one.index, "step": one.data, "of": ticket.steps_of(one.index)}
    if one.kind == "preview":
        content = Inline(await drawn(one.data))
        return {"type": "preview", "index": one.index, "b64_json": content, "format": "png"}
    if one.kind == "medium":
        return {"type": "medium", "index": one.index, "seed": one.data.seed}
    return None


def live(ticket: Ticket) -> dict[str, Any]:
    """What is true of a job under way at this moment."""
    steps = [
        {"index": k, "step": ticket.steps.get(k, 0), "of": ticket.steps_of(k)}
        for k in range(len(ticket.jobs))
    ]
    return {
        "status": STATES.get(ticket.state, ticket.state),
        "progress": round(ticket.progress, 3),
        "line": ticket.line if ticket.state == "queued" else 0,
        "steps": steps,
    }
