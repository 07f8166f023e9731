"""Addresses of media: files of the store, whose address carries an expiring signature instead of a key."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response

from multigen.serving.api.errors import ApiError
from multigen.serving.api.state import Server, TheServer

router = APIRouter()
VALID = 3600  # s for which an address is
TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif", ".wav": "audio/wav",
    ".mp3": "audio/mpeg", ".flac": "audio/flac", ".opus": "audio/ogg", ".aac": "audio/aac", ".mp4": "video/mp4",
    ".webm": "video/webm", ".ogg": "audio/ogg", ".m4a": "audio/mp4", ".mov": "video/quicktime", ".jpeg": "image/jpeg",
    ".mkv": "video/matroska", ".apng": "image/apng", ".pcm": "audio/pcm",
}  # fmt: skip


async def address(http: HttpRequest, server: Server, content: bytes, suffix: str) -> str:
    """Keep a file, and return an address that is valid for `VALID` seconds."""
    name = server.store.new_id("file")
    await asyncio.to_thread(server.store.put, name, {"suffix": suffix}, {suffix: content})
    return signed(http, server, name, suffix)


def signed(http: HttpRequest, server: Server, name: str, suffix: str) -> str:
    """The address of a file of the store."""
    expires = int(time.time()) + VALID
    url = http.url_for("media_file", name=f"{name}{suffix}")
    return str(url.include_query_params(expires=expires, signature=_signature(server, name, suffix, expires)))


@router.get("/v1/files/{name}/content", name="media_file", response_model=None)
async def media_file(name: str, expires: int, signature: str, server: TheServer) -> Response:
    """A file that was made, by an address that this server gave out."""
    stem, dot, ending = name.partition(".")
    suffix = f"{dot}{ending}"
    valid = hmac.compare_digest(signature, _signature(server, stem, suffix, expires))
    if not valid or expires < time.time() or suffix not in TYPES:
        raise ApiError(403, "this address is not valid, or not any more", code="invalid_signature")
    path = await asyncio.to_thread(server.store.file, stem, suffix)
    if path is None:
        raise ApiError(404, "this file is not kept any more", code="not_found")
    return FileResponse(path, media_type=TYPES[suffix], headers={"cache-control": "private, no-store"})


def _signature(server: Server, name: str, suffix: str, expires: int) -> str:
    text = f"{name}{suffix} {expires}".encode()
    return hmac.new(server.secret, text, hashlib.sha256).hexdigest()
