"""/v1/media/info: what an uploaded file tells of how it was made, and whether this server marked it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest

from multigen.errors import MediaError, MultigenError
from multigen.marks.keys import find_key
from multigen.marks.report import MarkReport, no_key, readings, seen
from multigen.modalities import Limits as Bounds
from multigen.provenance.told import told
from multigen.serving.api.document import answers
from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import one, read_form, schema
from multigen.serving.api.members import Members
from multigen.serving.api.shapes import Told
from multigen.serving.api.state import Server, TheServer
from multigen.serving.api.uploads import Scratch, sniffed

router = APIRouter()
FILES = {"file": "a picture, a sound or a video, of any tool"}


class Nothing(Members):
    """A request that is a file alone."""


@router.post(
    "/v1/media/info",
    response_model=None,
    responses=answers(Told, "what the file tells"),
    openapi_extra=schema(Nothing, FILES, required=("file",)),
)
async def info(http: HttpRequest, server: TheServer) -> dict[str, Any]:
    """What a file tells of how it was made: signed, in plain metadata, and by this server's watermark."""
    _, uploads = await read_form(http, Nothing, FILES, server.limits)
    upload = one(uploads, "file")
    if upload is None:
        raise ApiError(400, "file: it is missing", param="file", code="missing_member")
    suffix = sniffed(upload.content)
    if suffix is None:
        text = "file: it is of no known format; send a picture, a sound or a video"
        raise ApiError(415, text, param="file", code="unsupported_media_type")
    scratch = Scratch()
    try:
        path = scratch.path / f"file{suffix}"
        await asyncio.to_thread(path.write_bytes, upload.content)
        row = await _read(server, path)
        mark = await _mark(server, path)
    finally:
        await asyncio.to_thread(scratch.close)  # an error that is kept would keep it
    return {
        "format": suffix.removeprefix("."),
        "signature": {"state": row["state"], "by": row["by"], "faults": row["faults"]},
        "actions": row["actions"],
        "sources": row["sources"],
        "said": row["said"],
        "watermark": {"state": mark.state, "p_value": mark.p_value, "payload": mark.payload},
    }


async def _read(server: Server, path: Path) -> dict[str, Any]:
    """Read in another process: manifests of strangers are parsed by native code."""
    try:
        return await server.readers.read(path, told, path)
    except MediaError:  # it crashed the reader, or took too long
        raise ApiError(400, "file: it cannot be read", param="file", code="invalid_media") from None


async def _mark(server: Server, path: Path) -> MarkReport:
    """Whether the file carries the mark of this server's key."""
    try:
        key = await asyncio.to_thread(find_key)
        if key is None:
            return no_key()
        limits = server.limits
        bounds = Bounds(limits.upload, limits.pixels, limits.seconds, max_clip_pixels=16 * limits.pixels)
        found = await server.readers.read(path, readings, path, bounds)
        return await asyncio.to_thread(seen, found, key)
    except MultigenError as error:  # of a kind without marks, damaged, larger than is read here
        return MarkReport("not_checked", str(error))
