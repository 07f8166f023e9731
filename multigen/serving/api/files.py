"""Addresses of media: files of the store, whose address carries an expiring signature instead of a key."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastapi import APIRouter
from starlette.datastructures import Headers
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from multigen.serving.api.document import Responses, answers
from multigen.serving.api.errors import ApiError
from multigen.serving.api.state import Server, TheServer

router = APIRouter()
RANGES = 16  # most of one request
VALID = 3600  # s for which an address is
TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif", ".wav": "audio/wav",
    ".mp3": "audio/mpeg", ".flac": "audio/flac", ".opus": "audio/ogg", ".aac": "audio/aac", ".mp4": "video/mp4",
    ".webm": "video/webm", ".ogg": "audio/ogg", ".m4a": "audio/mp4", ".mov": "video/quicktime", ".jpeg": "image/jpeg",
    ".mkv": "video/matroska", ".apng": "image/apng", ".pcm": "audio/pcm", ".tif": "image/tiff", ".tiff": "image/tiff",
    ".mid": "audio/midi", ".midi": "audio/midi", ".musicxml": "application/vnd.recordare.musicxml+xml",
}  # fmt: skip
OTHER = "application/octet-stream"  # of formats of other packages' modalities


class Kept(FileResponse):
    """A file of the store, whole or in ranges. What is wrong with a range is told as every other error is."""

    def __init__(self, path: Path, suffix: str) -> None:
        super().__init__(
            path, media_type=TYPES.get(suffix, OTHER), headers={"cache-control": "private, no-store"}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        asked = Headers(scope=scope).get("range", "")
        if asked.count(",") >= RANGES:  # then all of it, as RFC 9110 allows
            scope = {**scope, "headers": [(k, v) for k, v in scope["headers"] if k != b"range"]}
        wrong: ApiError | None = None
        begun = False

        async def tell(message: Message) -> None:
            nonlocal wrong, begun
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                wrong = _bad_range(message["status"], asked, Headers(raw=message["headers"]))
            if wrong is None:
                begun = True
                await send(message)

        try:
            await super().__call__(scope, receive, tell)
        except (FileNotFoundError, RuntimeError):
            if begun:
                raise
            wrong = gone()  # between the look and the reading
        if wrong is not None:
            await wrong.response()(scope, receive, send)


def _bad_range(status: int, asked: str, headers: Headers) -> ApiError:
    text = (
        f"Range: {asked[:60]!r} is not in this file"
        if status == 416
        else f"Range: {asked[:60]!r} is no range"
    )
    there = {k: v for k, v in headers.items() if k == "content-range"}
    return ApiError(status, text, code="invalid_range", headers=there)


def gone() -> ApiError:
    """The answer for a file that was deleted, or whose time is over."""
    return ApiError(404, "this file is not kept any more", code="not_found")


def file_answers(suffixes: Sequence[str], others: Mapping[int, str] | None = None) -> Responses:
    """What a route that sends such files answers."""
    kinds = {TYPES.get(suffix, OTHER): "the file" for suffix in suffixes}
    part = {**kinds, "multipart/byteranges": "several parts of it"}
    wrong = {416: "that range is not in the file", **(others or {})}
    return {
        **answers(about="the file", files=kinds, others=wrong),
        **answers(about="a part of it", files=part, status=206),
    }


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


@router.get(
    "/v1/files/{name}/content",
    name="media_file",
    response_model=None,
    response_class=FileResponse,
    responses=file_answers((*TYPES, "")),
)
async def media_file(name: str, expires: int, signature: str, server: TheServer) -> Response:
    """A file that was made, by an address that this server gave out."""
    stem, dot, ending = name.partition(".")
    suffix = f"{dot}{ending}"
    expected = _signature(server, stem, suffix, expires)
    valid = hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), expected.encode())
    if not valid or expires < time.time():
        raise ApiError(403, "this address is not valid, or not any more", code="invalid_signature")
    path = await asyncio.to_thread(server.store.file, stem, suffix)
    if path is None:
        raise gone()
    return Kept(path, suffix)


def _signature(server: Server, name: str, suffix: str, expires: int) -> str:
    text = f"{name}{suffix} {expires}".encode()
    return hmac.new(server.secret, text, hashlib.sha256).hexdigest()
