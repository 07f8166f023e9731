"""The guard around the app: pure ASGI, so that streams pass through it untouched."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multigen.serving import trace
from multigen.serving.api.errors import ApiError, of
from multigen.serving.api.state import Caller, Server
from multigen.serving.guard import answers
from multigen.serving.guard.body import Body, check_head, kind_of
from multigen.serving.guard.hosts import Hosts
from multigen.serving.guard.keys import Keys, bearer

_READS = ("GET", "HEAD", "OPTIONS")
# Addresses of media carry a signature in place of a key.
_SIGNED = "/v1/files/"
# Routes that take a file, make nothing and keep nothing.
_ASKS = ("/v1/media/info",)


@dataclass(frozen=True)
class Rules:
    """What the guard asks for.

    hosts        names that this server answers to
    keys         those that let a client in; None: everybody on this machine
    patience     s for a body to begin and, by its size, to end
    headers      most headers of a request
    held         most bytes of JSON bodies that are in memory at once
    log_prompts  whether the log keeps prompts
    """

    hosts: Hosts = field(default_factory=Hosts)
    keys: Keys | None = None
    patience: float = 15.0
    headers: int = 100
    held: int = 128 << 20
    log_prompts: bool = False


class Guard:
    """Lets a request through to the app, or answers it with the reason why not."""

    def __init__(self, app: ASGIApp, server: Server, rules: Rules, root_path: str = "") -> None:
        self._app, self._server, self._rules, self._root = app, server, rules, root_path
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no route speaks anything else
        scope = {**scope, "root_path": self._root}
        headers = _headers(scope)
        before = scope.get("state", {})
        answer = _Answer(scope, send, before.get("request_id") or answers.request_id(headers))
        state = {**before, "request_id": answer.id}
        inner: dict[str, Any] = {**scope, "state": state}
        body = Body(receive, self._limit(headers), self._rules.patience)
        answer.body = body
        try:
            # A request that is answered anew comes with its caller; no client can send one.
            state["caller"] = caller = state.get("caller") or self._admit(scope, headers)
            answer.key = caller.key
            await self._through(inner, headers, body, answer, caller)
        except Exception as error:  # what no handler of the app has answered
            if answer.status:
                raise  # too late: the connection is closed, so that nobody takes half an answer for a whole one
            await answer.refuse(of(error))
        finally:
            route = _route(inner)
            answer.finish(route)
            trace.answered(method=scope["method"], route=route, status=answer.status, id=answer.id)
            self._server.models.watch.answered(route, scope["method"], answer.status, answer.seconds)

    def _admit(self, scope: Scope, headers: Mapping[str, str]) -> Caller:
        """Who asks. ApiError for whoever may not."""
        if len(scope["headers"]) > self._rules.headers:
            raise ApiError(
                431, f"a request has {self._rules.headers} headers at most", code="too_many_headers"
            )
        path, method = _path(scope), scope["method"]
        page = not path.startswith("/v1/") or path.startswith(_SIGNED)
        wrong = self._rules.hosts.fault(method, headers, page=page)
        if wrong is not None:
            raise ApiError(403, wrong, code="forbidden_origin")
        caller = self._caller(path, method, headers)
        check_head(method, headers, self._limit(headers))
        if self._server.draining and path.startswith("/v1/") and method not in (*_READS, "DELETE"):
            raise ApiError(
                503,
                "the server is about to end and takes no new requests",
                code="draining",
                headers={"retry-after": "5"},
            )
        return caller

    def _caller(self, path: str, method: str, headers: Mapping[str, str]) -> Caller:
        keys = self._rules.keys
        if keys is None:
            return Caller(scopes=frozenset({"generate", "read", "metrics"}))
        if not (path.startswith("/v1/") or path == "/metrics") or path.startswith(_SIGNED):
            return Caller("", frozenset())
        secret = bearer(headers)
        ask = {"www-authenticate": "Bearer"}
        if secret is None:
            raise ApiError(
                401, "a key is missing: Authorization: Bearer KEY", code="missing_key", headers=ask
            )
        found = keys.find(secret)
        if found is None:
            raise ApiError(401, "this key is not known here", code="invalid_api_key", headers=ask)
        key, budget = found
        reads = method in _READS or path in _ASKS
        scope = "metrics" if path == "/metrics" else "read" if reads else "generate"
        if scope not in key.scopes:
            raise ApiError(403, f"this key has not the scope {scope!r}", code="missing_scope")
        budget.requests.take(1)
        return Caller(key.name, frozenset(key.scopes), budget, key.max_priority)

    async def _through(
        self, scope: Scope, headers: Mapping[str, str], body: Body, answer: _Answer, caller: Caller
    ) -> None:
        held = self._hold(headers)
        try:
            if kind_of(headers) == "application/json":
                text = await body.keep(self._server.limits.depth)
                if text is None:
                    return  # the client is gone
                if self._rules.log_prompts:
                    answers.log_prompt(id=answer.id, key=caller.key, body=text)
            making = scope["method"] not in _READS
            self._server.active += making
            try:
                await self._app(scope, body, answer)
            finally:
                self._server.active -= making
        finally:
            self._held -= held
        if body.fault is not None and not answer.status:
            raise body.fault

    def _hold(self, headers: Mapping[str, str]) -> int:
        """Set memory aside for a JSON body. ApiError where too many are being read."""
        if kind_of(headers) != "application/json":
            return 0
        length = headers.get("content-length", "")
        size = int(length) if length.isdecimal() else self._limit(headers)
        if self._held and self._held + size > self._rules.held:
            raise ApiError(
                503, "too many large requests at once", code="overloaded", headers={"retry-after": "1"}
            )
        self._held += size
        return size

    def _limit(self, headers: Mapping[str, str]) -> int:
        limits = self._server.limits
        return limits.json if kind_of(headers) == "application/json" else limits.body


class _Answer:
    """The `send` of a request: adds headers, counts, and lets a refused body have the last word."""

    def __init__(self, scope: Scope, send: Send, name: str) -> None:
        self._scope, self._send, self.id = scope, send, name
        self._begun = time.monotonic()
        self.body: Body | None = None
        self.status, self.sent, self.key = 0, 0, ""

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.monotonic() - self._begun

    async def __call__(self, message: Message) -> None:
        """Send a part of the answer."""
        refused = self.body is not None and self.body.fault is not None
        if refused and not self.status:
            return  # the guard answers
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": answers.add_headers(list(message.get("headers", [])), self.id)}
            if self.body is not None and not self.body.read and self._has_body():
                message["headers"].append((b"connection", b"close"))
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            body = self.body
            if (
                body is not None
                and not body.read
                and self._has_body()
                and not message.get("more_body", False)
            ):
                # What closes with data unread loses the answer: a route that is none reads no body.
                await self._send({**message, "more_body": True})
                await body.discard()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error."""
        if self.body is not None:
            self.body.fault = None
        response = error.response()
        start: Message = {
            "type": "http.response.start",
            "status": error.status,
            "headers": response.raw_headers,
        }
        await self(start)
        await self({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
        if self.body is not None and self._has_body() and error.status != 408:
            await self.body.discard()
        await self({"type": "http.response.body", "body": b"", "more_body": False})

    def finish(self, route: str) -> None:
        """Write the log."""
        client = self._scope.get("client") or ("", 0)
        answers.log_answer(
            id=self.id, method=self._scope["method"], path=self._scope["path"], route=route, status=self.status,
            begun=self._begun, sent=self.sent, client=client[0], key=self.key,
        )  # fmt: skip

    def _has_body(self) -> bool:
        """Whether the request announced a body: what is left of it would be taken for the next request."""
        names = {name for name, _ in self._scope["headers"]}
        return b"content-length" in names or b"transfer-encoding" in names


def _headers(scope: Scope) -> dict[str, str]:
    """Headers by their names; of several of a name the last, but all of Host and Authorization must agree."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in ("host", "origin", "authorization", "content-type") and found.get(key, text) != text:
            text = "\0"  # matches nothing
        found[key] = text
    return found


def _route(scope: Mapping[str, Any]) -> str:
    """The template of the route that answered, such as /v1/models/{name}; never what a client made up."""
    route = scope.get("route")
    return route.path if isinstance(route, BaseRoute | Route) and isinstance(route, Route) else "other"


def _path(scope: Scope) -> str:
    """The path of a request without what the proxy puts in front of it."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
