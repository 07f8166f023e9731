"""Server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import StreamingResponse

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event(data: Mapping[str, Any], kind: str | None = None) -> bytes:
    """One event."""
    head = f"event: {kind}\n" if kind else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """An answer of events."""
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
