"""In front of the models: requests that make media go to the replicas of their model, the rest is answered here.

Who calls a replica is a `Call`; this module knows nothing of Ray.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multigen.serving.api.errors import ApiError
from multigen.serving.api.state import Server

log = logging.getLogger(__name__)

_MAKES = re.compile(r"/v1/(images|audio|videos|jobs)(?:/([^/]+)/remix|/[a-z]+)?$")
_MODALITY = {"images": "image", "audio": "audio", "videos": "video"}
_FIELD = re.compile(
    rb'content-disposition:[ \t]*form-data[ \t]*;[ \t]*name="?model"?[ \t]*(?:;|\r|$)', re.IGNORECASE
)
_PARTS, _HEAD, _NAME = (
    200,
    2000,
    200,
)  # parts of a form that are looked at, bytes of their headers, of a model's name
_SENT = (
    "type", "http_version", "method", "scheme", "path", "raw_path", "query_string", "headers", "client", "server",
)  # fmt: skip
_TRIES = 3  # replicas that are asked, one after the other, where they die


class Answer(Protocol):
    """The parts of an answer as they come."""

    def __aiter__(self) -> AsyncIterator[Message]:
        """The ASGI messages."""
        ...

    def cancel(self) -> None:
        """Nobody reads on."""
        ...


class Gone(Exception):
    """The replica that was asked is no more."""


class Full(Exception):
    """All replicas have as much to do as they take."""


Call = Callable[[Scope, bytes], Answer]


class Forward:
    """Sends what makes media to its model.

    calls   by the id of a model; they raise Gone and Full
    root    what a proxy puts in front of the paths
    metrics what each replica tells Prometheus, by its name; None: nothing
    """

    def __init__(
        self,
        app: ASGIApp,
        server: Server,
        calls: Mapping[str, Call],
        root: str = "",
        metrics: Callable[[], Awaitable[dict[str, str]]] | None = None,
    ) -> None:
        self._app, self._server, self._calls, self._root = app, server, calls, root.rstrip("/")
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = None
        if scope["type"] == "http" and scope["method"] == "POST":
            found = _MAKES.fullmatch(scope["path"].removeprefix(self._root))
        if found is None and self._metrics is not None and self._asks(scope, "GET", "/metrics"):
            text = together(await self._metrics())
            await Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")(scope, receive, send)
            return
        if found is None:
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return  # the client went away
        name = await asyncio.to_thread(self._model, found, body)
        # One for all tries: a replica that died may have begun the job.
        state = {"once": secrets.token_hex(16)}
        if (number := scope.get("state", {}).get("request_id")) is not None:
            state["request_id"] = number  # the logs of both say the same
        inner: Scope = {**{key: scope[key] for key in _SENT if key in scope}, "state": state}
        await self._forward(self._calls[name], inner, body, receive, send)

    def _asks(self, scope: Scope, method: str, path: str) -> bool:
        """Whether a request is for a path."""
        return (
            scope["type"] == "http"
            and scope["method"] == method
            and scope["path"].removeprefix(self._root) == path
        )

    def _model(self, found: re.Match[str], body: bytes) -> str:
        """The model whose replicas answer. Where a request names none that is served, any of them says so."""
        server, modality = self._server, _MODALITY.get(found[1])
        able = server.models.of_modality(modality) if modality else list(server.models.served)
        asked = model_in(body)
        if asked is None and found[2] is not None:
            asked = (server.store.get(found[2]) or {}).get("model")
        if asked in self._calls:
            return str(asked)
        return able[0] if able else next(iter(self._calls))

    async def _forward(self, call: Call, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        for left in reversed(range(_TRIES)):
            try:
                await _through(call(scope, body), receive, sent)
                return
            except Gone as error:
                if begun:
                    raise  # the connection is closed: nobody takes half an answer for a whole one
                log.warning("a replica is gone (%s)", error)
                if not left:
                    text = "the replica that made this is gone; try again"
                    headers = {"retry-after": "1"}
                    raise ApiError(503, text, code="replica_gone", headers=headers) from error
            except Full as error:
                text = "all replicas of this model are busy; try again later"
                raise ApiError(429, text, code="queue_full", headers={"retry-after": "2"}) from error


def together(texts: Mapping[str, str]) -> str:
    """What replicas tell Prometheus as one text, each sample with a label that says whose it is."""
    heads: dict[str, list[str]] = {}
    rows: dict[str, list[str]] = {}
    for replica, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                family = line.split()[2]
                if line not in heads.setdefault(family, []):
                    heads[family].append(line)
            elif line:
                rows.setdefault(family, []).append(_labelled(line, replica))
    parts = [line for family in heads for line in (*heads[family], *rows.get(family, ()))]
    return "\n".join(parts) + "\n"


def _labelled(line: str, replica: str) -> str:
    """A sample with one label more."""
    label = f'replica="{replica}"'
    name, brace, rest = line.partition("{")
    if brace:
        return f"{name}{{{label},{rest}"
    name, _, value = line.partition(" ")
    return f"{name}{{{label}}} {value}"


def model_in(body: bytes) -> str | None:
    """The model that the body of a request names: JSON, or a form."""
    if body.lstrip()[:1] == b"{":
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return None
        name = found.get("model") if isinstance(found, dict) else None
        return name if isinstance(name, str) else None
    return _in_form(body)


def _in_form(body: bytes) -> str | None:
    """The field `model` of a form. Parts are told apart by their boundary, in time that grows with the length alone."""
    boundary, begin = b"\r\n" + body[:_NAME].partition(b"\r\n")[0], 0
    for _ in range(_PARTS):
        head, blank, _ = body[begin : begin + _HEAD].partition(b"\r\n\r\n")
        if blank and _FIELD.search(head):
            start = begin + len(head) + len(blank)
            value, end, _ = body[start : start + _NAME].partition(b"\r\n")
            return value.decode("utf-8", "replace").strip() if end else None
        found = body.find(boundary, begin)
        if found < 0:
            return None
        begin = found + len(boundary)
    return None


async def _body(receive: Receive) -> bytes | None:
    """A body, which the guard has bounded; None if the client went away."""
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(parts)


async def _through(answer: Answer, receive: Receive, send: Send) -> None:
    """Send an answer on; a client that goes away ends it."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        answer.cancel()

    watching, whole = asyncio.create_task(gone()), False
    try:
        async for message in answer:
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)
    except asyncio.CancelledError:
        if not watching.done():
            raise  # not the client: the server ends
    finally:
        watching.cancel()
        if not whole:
            answer.cancel()


async def answered(app: ASGIApp, scope: Mapping[str, Any], body: bytes) -> AsyncIterator[Message]:
    """In a replica: what an app answers. Whoever stops reading is a client that goes away."""
    queue: asyncio.Queue[Message | None] = asyncio.Queue(16)
    away, sent = asyncio.Event(), False

    async def receive() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await away.wait()
        return {"type": "http.disconnect"}

    async def run() -> None:
        try:
            await app(dict(scope), receive, queue.put)
        finally:
            await queue.put(None)

    task = asyncio.create_task(run())
    try:
        while (message := await queue.get()) is not None:
            yield message
        await task
    finally:
        away.set()
        if not task.done():
            await _ended(task, queue)


async def _ended(task: asyncio.Task[None], queue: asyncio.Queue[Message | None]) -> None:
    """Let an app notice that its client is gone, and then end it."""
    while not queue.empty():
        queue.get_nowait()
    await asyncio.wait([task], timeout=0.5)
    task.cancel()
