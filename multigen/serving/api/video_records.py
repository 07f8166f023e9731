"""Videos that are kept: their records, their files, and what a client sees of them."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multigen.generation.request import EditRequest, Request
from multigen.modalities.media import Media
from multigen.modalities.raster import to_levels, to_pil
from multigen.serving.api.encoding import encoded, told
from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import Upload
from multigen.serving.api.sharing import UNDER_WAY
from multigen.serving.api.state import Server
from multigen.serving.api.uploads import Scratch, medium_of
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.models import Served
from multigen.serving.engine.ticket import Ticket

THUMBNAIL, SHEET = ".webp", ".jpg"
Record = dict[str, Any]
# What a record says of itself to others; OpenAI's client knows no video that was cancelled.
_SHOWN = ("id", "model", "prompt", "size", "seconds", "seed", "remixed_from_video_id", "error")
_STATUS = {"running": "in_progress", "done": "completed", "cancelled": "failed"}


def begun(name: str, engine: Engine, ticket: Ticket, request: Request) -> Record:
    """The record of a video that has been accepted."""
    modality, plan = engine.model.modality, ticket.jobs[0].plan
    sample = plan.recipe.sample
    size = sample.size if request.size is None else request.size
    duration = sample.duration if request.duration is None else request.duration
    shape = tuple(modality.shape(size, duration))
    if plan.edit is not None:
        original = plan.edit.original
        shape, modality = tuple(original.source.media.shape), original.modality
    elif plan.known is not None:
        shape = plan.known.shape
    fps = float(vars(modality)["fps"])
    return {
        "id": name,
        "status": "queued",
        "began": time.time(),
        "size": f"{shape[-1]}x{shape[-2]}",
        "seconds": f"{shape[1] / fps:g}",
        "seed": ticket.jobs[0].seed,
        "prompt": request.prompt,
    }


async def keep(ticket: Ticket, suffix: str, scratch: Scratch) -> tuple[Record, Mapping[str, bytes]]:
    """What is added to the record of a video that is made, and its files; `scratch` holds the sound of an edit."""
    medium = ticket.media[0]
    _, _, height, width = medium.tensor.shape

    def pictures() -> tuple[bytes, bytes]:
        first, sheet = io.BytesIO(), io.BytesIO()
        to_pil(to_levels(medium.tensor[:, 0])).save(first, format="WEBP", lossless=True)
        medium.modality.preview([medium.tensor]).convert("RGB").save(sheet, format="JPEG", quality=90)
        return told(first.getvalue(), THUMBNAIL, medium), told(sheet.getvalue(), SHEET, medium)

    thumbnail, sheet = await asyncio.to_thread(pictures)
    files = {suffix: await encoded(medium, suffix), THUMBNAIL: thumbnail, SHEET: sheet}
    return {"size": f"{width}x{height}", "seconds": _seconds(medium)}, files


async def remixed(
    server: Server, record: Record, served: Served, strength: float, scratch: Scratch
) -> EditRequest:
    """The edit of a finished video. ApiError where its file is not there any more."""
    path = await asyncio.to_thread(server.store.file, record["id"], f".{record['output_format']}")
    if path is None:
        raise ApiError(404, "this video is not kept any more", param="video_id", code="not_found")
    upload = Upload("video_id", await asyncio.to_thread(Path.read_bytes, path))
    return EditRequest(await medium_of(upload, served, server, scratch), strength=strength)


def shown(server: Server, record: Record) -> Record:
    """A video as OpenAI's client reads it."""
    work = server.background.get(record["id"])
    status, progress = record["status"], 100 if record["status"] == "completed" else 0
    if work is not None:
        # A ticket that is done has its files yet to be written.
        status = {"queued": "queued", "failed": "failed"}.get(work.ticket.state, "in_progress")
        progress = int(99 * work.ticket.progress)
    elif (said := record.get("live")) is not None:
        status, progress = said["status"], int(99 * said["progress"])
    ended = record.get("ended")
    return {
        "object": "video",
        "error": None,
        "remixed_from_video_id": None,
        **{name: record[name] for name in _SHOWN if name in record},
        "status": _STATUS.get(status, status),
        "progress": progress,
        "created_at": int(record["began"]),
        "completed_at": int(ended) if ended and status == "completed" else None,
        "expires_at": int(ended + server.store.ttl) if ended else None,
        "output_format": record["output_format"],
    }


def poll_after(server: Server, record: Record) -> int | None:
    """Milliseconds after which it is worth asking again; None for a video that has ended."""
    work = server.background.get(record["id"])
    if work is None:
        return 1000 if record["status"] in UNDER_WAY else None
    left = (1 - work.ticket.progress) * work.engine.watch.seconds_for(work.engine.name, 1)
    return int(1000 * min(max(left / 4, 0.1), 5.0))


def _seconds(medium: Media) -> str:
    return f"{medium.tensor.shape[1] / float(vars(medium.modality)['fps']):g}"
