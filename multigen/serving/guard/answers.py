"""What every answer carries, and what the log keeps of it: a request id, security headers, one JSON line."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Mapping, MutableSequence
from typing import Any

access_log = logging.getLogger("multigen.access")

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# The page loads nothing from elsewhere, runs no text as code, and cannot be framed.
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# What is not a page is never shown as one.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def request_id(headers: Mapping[str, str]) -> str:
    """The client's own id if it is a sane one, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def add_headers(headers: MutableSequence[tuple[bytes, bytes]], name: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with those that every answer carries; what a route says itself stays."""
    there = {key.lower() for key, _ in headers}
    kind = next((value for key, value in headers if key.lower() == b"content-type"), b"")
    page = kind.startswith((b"text/html", b"text/javascript", b"application/javascript", b"text/css"))
    policy = PAGE_POLICY if page else DATA_POLICY
    every = {**_HEADERS, "content-security-policy": policy, "x-request-id": name}
    added = [(k.encode(), v.encode()) for k, v in every.items() if k.encode() not in there]
    return [*headers, *added]


def log_answer(
    *,
    id: str,
    method: str,
    path: str,
    route: str,
    status: int,
    begun: float,
    sent: int,
    client: str,
    key: str,
) -> None:
    """Write a line about an answer. Neither prompts nor queries are in it: an address may carry a signature."""
    line: dict[str, Any] = {
        "time": round(time.time(), 3),
        "event": "answer",
        "id": id,
        "method": method,
        "path": path[:200],
        "route": route,
        "status": status,
        "seconds": round(time.monotonic() - begun, 4),
        "bytes": sent,
        "client": client,
        "key": key,
    }
    access_log.info("%s", json.dumps(line))


def log_prompt(*, id: str, key: str, body: bytes) -> None:
    """Write a line with what a JSON request asks for, where the server's user wants that."""
    try:
        given = json.loads(body)
    except ValueError:
        return
    if not isinstance(given, dict):
        return
    asked = {k: v for k in ("prompt", "input", "negative_prompt") if isinstance(v := given.get(k), str)}
    if asked:
        line = {"time": round(time.time(), 3), "event": "prompt", "id": id, "key": key, **asked}
        access_log.info("%s", json.dumps(line))
