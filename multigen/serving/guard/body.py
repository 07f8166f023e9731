"""Bodies: bounded by their length before they are read, and by size and time while they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from starlette.types import Message, Receive

from multigen.serving.api.errors import ApiError
from multigen.serving.guard import json_text

KINDS = ("application/json", "multipart/form-data")


class Body:
    """A request's `receive` that refuses what is too large or too slow.

    limit    bytes
    patience s in which the first byte, and then every `RATE` bytes more, must come
    fault    why it was refused, which then is the answer whatever the route makes of it
    """

    MOST = 64 << 20  # bytes that are read on after a refusal
    RATE = 16_384  # bytes/s, below which a body is a way to hold a connection

    def __init__(self, receive: Receive, limit: int, patience: float) -> None:
        self._receive, self._limit, self._patience = receive, limit, patience
        self._begun, self._count, self._whole = time.monotonic(), 0, False
        self._kept: list[Message] = []
        self.fault: ApiError | None = None

    async def __call__(self) -> Message:
        """The next message of the request."""
        if self._kept:
            return self._kept.pop(0)
        if self._whole:
            return await self._receive()
        left = self._begun + self._patience + self._count / self.RATE - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise self._refuse(
                ApiError(408, "the body of this request comes too slowly", code="timeout")
            ) from None
        if message["type"] == "http.disconnect":
            self._whole = True
            return message
        self._count += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._count > self._limit:
            raise self._refuse(too_large(self._limit))
        return message

    async def keep(self, depth: int) -> bytes | None:
        """Read a JSON body whole and check it; the route reads it again. None if the client went away."""
        parts: list[bytes] = []
        while not self._whole:
            message = await self()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
        text = b"".join(parts)
        said = None
        if text:  # clients say JSON of requests without a body, too; what needs one asks for it
            short = len(text) < 100_000
            check = json_text.fault
            said = check(text, depth) if short else await asyncio.to_thread(check, text, depth)
        if said is not None:
            raise self._refuse(ApiError(400, said, code="not_json"))
        self._kept.append({"type": "http.request", "body": text, "more_body": False})
        return text

    async def discard(self, seconds: float = 2.0) -> None:
        """Read on for a moment after a refusal: a connection that is closed with data unread loses the answer, too."""
        read = 0
        try:
            async with asyncio.timeout(seconds):
                while not self._whole and read < self.MOST:
                    message = await self._receive()
                    read += len(message.get("body", b""))
                    self._whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        except TimeoutError:
            return

    @property
    def read(self) -> bool:
        """Whether all of it has come."""
        return self._whole

    def _refuse(self, error: ApiError) -> ApiError:
        self.fault = error
        return error


def check_head(method: str, headers: Mapping[str, str], limit: int) -> None:
    """ApiError for a body that is announced too large or as something that no route reads."""
    length, coded = headers.get("content-length"), headers.get("transfer-encoding")
    if length is None and coded is None:
        return
    if length is not None and coded is not None:  # a proxy in front may end the body elsewhere
        text = "Content-Length and Transfer-Encoding: a request has one of them"
        raise ApiError(400, text, code="not_http", headers={"connection": "close"})
    if length is not None and length.isdecimal() and int(length[:20]) > limit:
        raise too_large(limit)
    if headers.get("content-encoding", "identity") != "identity":
        raise ApiError(415, "Content-Encoding: send bodies as they are", code="unsupported_encoding")
    kind = kind_of(headers)
    if method in ("POST", "PUT", "PATCH") and length != "0" and kind not in KINDS:
        raise ApiError(
            415,
            f"Content-Type: {kind[:60]!r} is not read here; send {' or '.join(KINDS)}",
            code="unsupported_media_type",
        )


def kind_of(headers: Mapping[str, str]) -> str:
    """The media type of a body, lower case, without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def too_large(limit: int) -> ApiError:
    """The answer to a body that is over a limit."""
    return ApiError(413, f"the body of this request is over {limit:,} bytes", code="body_too_large")
