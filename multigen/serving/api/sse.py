"""Server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import StreamingResponse

from multigen.serving.api.inline import encode

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
QUIET = 10.0  # s after which a comment is sent, so that proxies and clients know that we are there


def event(data: Mapping[str, Any], kind: str | None = None, number: int | None = None) -> bytes:
    """One event; a client that comes back says the number of the last that it saw."""
    head = f"event: {kind}\n" if kind else ""
    head += "" if number is None else f"id: {number}\n"
    return b"".join((head.encode(), b"data: ", encode(data), b"\n\n"))


def stream(events: AsyncGenerator[bytes, None]) -> StreamingResponse:
    """An answer of events."""
    return StreamingResponse(_spoken(events), media_type="text/event-stream", headers=HEADERS)


async def _spoken(events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """The events, and a comment where there is none for long. The events are closed with the answer."""
    following: asyncio.Task[bytes] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(_next(events))
            await asyncio.wait([following], timeout=QUIET)
            if not following.done():
                yield b": still there\n\n"
                continue
            try:
                one = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield one
    finally:
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await following
        await events.aclose()


async def _next(events: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(events)
