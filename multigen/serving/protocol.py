"""Connections: what HTTP itself leaves open. Heads that never end, answers that nobody reads, floods of headers."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from multigen.serving.guard.answers import add_headers, request_id

HEAD_SECONDS = 15.0  # in which the head of a request must come
READ_SECONDS = 60.0  # in which a client must read on
ANSWER_SECONDS = 1.0  # in which a client may read why it was refused
HEAD_BYTES = 32_768  # of the request line and all headers


class Protocol(H11Protocol):
    """HTTP/1.1 by uvicorn and h11, with a bound on the time that a connection holds without doing anything."""

    head_seconds = HEAD_SECONDS
    read_seconds = READ_SECONDS

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self._refused = False
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its request must follow."""
        super().connection_made(transport)
        # asyncio does so for sockets that name their protocol, which `socket.create_server` does not: the second part
        # of an answer would wait 40 ms for the client to say that it has the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """A part of a request came."""
        if self._refused:
            return
        if self._most is not None and max(len(self.connections), len(self.tasks)) > self._most:
            self.app = _overloaded  # and then closed
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect()
        else:
            self._late = _stopped(self._late)

    def on_response_complete(self) -> None:
        """An answer is sent; a pipelined request may have begun."""
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:
            self._late = _stopped(self._late)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(self.read_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        self._stuck = _stopped(self._stuck)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._late = _stopped(self._late)
        self._stuck = _stopped(self._stuck)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the shape of every other error; what is under way is cut off instead."""
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            body, headers = _error(msg, "invalid_request_error", "not_http")
            head = [b"HTTP/1.1 400 Bad Request", *(b"%s: %s" % pair for pair in headers), b"", b""]
            self.transport.write(b"\r\n".join(head) + body)
        self._refused = True
        if self.transport.can_write_eof():  # what closes with data unread loses the answer
            self.transport.write_eof()
            self.loop.call_later(ANSWER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self._overdue)

    def _overdue(self) -> None:
        self._late = None
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.abort()


async def _overloaded(scope: Scope, receive: Receive, send: Send) -> None:
    """The app of a connection beyond those that are allowed."""
    text = "too many connections are open; try again later"
    body, headers = _error(text, "server_error", "overloaded")
    headers = [*headers, (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _error(message: str, kind: str, code: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body and the headers of an error."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    body = json.dumps({"error": error}).encode()
    own = [(b"content-type", b"application/json"), (b"connection", b"close")]
    length = (b"content-length", b"%d" % len(body))
    return body, add_headers([*own, length], request_id({}))


def _stopped(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
