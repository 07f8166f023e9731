"""What a job or video was asked with: the HTTP request itself, kept so that another server can answer it anew."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from dataclasses import dataclass
from typing import IO, Any

from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multigen.serving.engine.store import Store

_ROUTE = re.compile(r"/v1/(jobs|videos(/[^/]+/remix)?)$")
_HEADERS = ("content-type", "idempotency-key")
_IN_MEMORY = 1 << 20  # bytes of a body; the rest waits on the disk


@dataclass(frozen=True)
class Resumed:
    """A record that goes on: its name, and the how-manieth server makes it."""

    name: str
    turn: int


class Recorder:
    """Keeps the bodies of requests that begin a job or video while they are answered. Pure ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or not _ROUTE.search(scope["path"]):
            await self._app(scope, receive, send)
            return
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:

            async def heard() -> Message:
                message = await receive()
                file.write(message.get("body", b""))
                return message

            state = {**scope.get("state", {}), "recorded": file}
            await self._app({**scope, "state": state}, heard, send)


def asked(http: HttpRequest) -> bytes | None:
    """The request as it is kept: a line of JSON, then its body. None where nothing keeps it."""
    file: IO[bytes] | None = http.scope.get("state", {}).get("recorded")
    if file is None:
        return None
    found = _ROUTE.search(http.scope["path"])
    assert found is not None
    headers = {name: value for name in _HEADERS if (value := http.headers.get(name)) is not None}
    file.seek(0)
    return json.dumps({"path": found[0], "headers": headers}).encode() + b"\n" + file.read()


def resumed(http: HttpRequest) -> Resumed | None:
    """Which record a request goes on with; None: it is a client's."""
    found: Resumed | None = http.scope.get("state", {}).get("resumed")
    return found


def name_for(http: HttpRequest, store: Store, kind: str) -> str:
    """The name of the record that a request begins: its own where it is asked again, or else a new one."""
    state = http.scope.get("state", {})
    again, once = resumed(http), state.get("once")
    if again is not None:
        return again.name
    return store.new_id(kind) if once is None else store.id_of(kind, "once", once)


async def answer_again(app: ASGIApp, content: bytes, state: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer a kept request once more; status and body of the answer."""
    line, _, body = content.partition(b"\n")
    head = json.loads(line)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head["headers"].items()]
    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": head["path"], "raw_path": head["path"].encode(), "root_path": "", "query_string": b"",
        "headers": [*headers, (b"content-length", b"%d" % len(body)), (b"host", b"localhost")], "client": None,
        "server": ("localhost", 80), "state": state,
    }  # fmt: skip
    parts, status, sent = list[bytes](), 500, False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # this client never goes away
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    try:
        return status, json.loads(b"".join(parts))
    except ValueError:
        return status, {}
