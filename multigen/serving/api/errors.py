"""Errors as OpenAI's clients read them: {"error": {"message", "type", "param", "code"}}, with the right status."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from multigen.errors import MultigenError
from multigen.generation.request import EditRequest, Request, options
from multigen.safety import Blocked
from multigen.serving.api.fields import fields_at
from multigen.serving.engine.settings import Busy, Draining
from multigen.serving.engine.ticket import REFUSED, Failure
from multigen.serving.guard.budgets import Spent

log = logging.getLogger(__name__)

_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "timeout_error", 409: "conflict_error", 413: "invalid_request_error",
    415: "invalid_request_error", 416: "invalid_request_error", 431: "invalid_request_error", 429: "rate_limit_error",
    500: "server_error", 503: "server_error", 504: "timeout_error",
}  # fmt: skip
_MEMBERS = {*options(Request), *options(EditRequest), "n", "overrides", "options", "loras", "fast"}
# How the failures of a ticket are answered.
_FAILURES = {
    "invalid_request": 400,
    REFUSED: 400,
    "deadline": 504,
    "draining": 503,
    "out_of_memory": 503,
    "server_error": 500,
}


LONGEST = 2000  # characters of a message
NAME = 100  # characters of a name of the client's: longer ones are none of ours, and take long to compare


class ApiError(Exception):
    """An answer that is an error.

    message  for people; cut where it is over `LONGEST`: what a client sent is not sent back whole
    param    the member of the request that is wrong, where it is one
    code     for programs: "model_not_found", "invalid_value" ...
    headers  beside those of every answer
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message, param = message[:LONGEST], None if param is None else param[:NAME]
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """What is sent."""
        kind = _TYPES.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body(), self.status, self.headers)


def of(error: Exception) -> ApiError:
    """What an error of the engine, of a request or of the framework is answered with."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        return ApiError(
            429, str(error), code="queue_full", headers={"retry-after": str(round(error.seconds))}
        )
    if isinstance(error, Spent):
        wait = str(max(1, math.ceil(error.seconds)))
        return ApiError(429, str(error), code="rate_limit_exceeded", headers={"retry-after": wait})
    if isinstance(error, Blocked):
        return ApiError(400, str(error), param=_param(str(error)), code=REFUSED)
    if isinstance(error, Draining):
        return ApiError(503, str(error), code="draining", headers={"retry-after": "5"})
    if isinstance(error, MultigenError):
        return ApiError(400, str(error), param=_param(str(error)), code="invalid_value")
    if isinstance(error, ClientDisconnect):  # in the middle of a form; nobody reads this
        return ApiError(499, "the client went away", code="cancelled")
    log.exception("an answer failed", exc_info=error)
    return ApiError(500, "the server failed to answer this; its log says why", code="server_error")


def _param(text: str) -> str | None:
    """The member that a message of the engine begins with."""
    first = text.partition(":")[0].partition(" ")[0]
    return first if first.partition(".")[0] in _MEMBERS else None


def failed(failure: Failure) -> ApiError:
    """What a ticket that failed is answered with."""
    status = _FAILURES.get(failure.code, 500)
    return ApiError(
        status, failure.message, code=failure.code, headers={"retry-after": "5"} if status == 503 else {}
    )


def unknown(name: str, known: Iterable[str], what: str = "member") -> ApiError:
    """A member that nothing here reads."""
    name, allowed = name[:NAME], sorted(known)
    near = difflib.get_close_matches(name, allowed, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    text = f"{name}: there is no such {what}. Allowed: {', '.join(allowed)}.{hint}"
    return ApiError(400, text, param=name, code=f"unknown_{what}")


def no_model(name: str, known: Iterable[str]) -> ApiError:
    """A model that is not served."""
    name, allowed = name[:NAME], sorted(known)
    near = difflib.get_close_matches(name, allowed, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    text = f"model: {name!r} is not served here. Served: {', '.join(allowed) or 'none'}.{hint}"
    return ApiError(404, text, param="model", code="model_not_found")


def install(app: FastAPI) -> None:
    """Let every error of the app be answered in this shape."""

    async def ours(_: HttpRequest, error: Exception) -> JSONResponse:
        return of(error).response()

    async def framework(_: HttpRequest, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status = 400 if error.status_code == 422 else error.status_code
        return ApiError(status, str(error.detail), headers=error.headers).response()

    async def invalid(http: HttpRequest, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        found = error.errors()
        return validation(found, _known(http, found[0]["loc"])).response()

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(MultigenError, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, ours)


def _known(http: HttpRequest, place: Sequence[int | str]) -> list[str]:
    """The members that the route of a request knows at the place of an unknown one."""
    route = http.scope.get("route")
    if not isinstance(route, APIRoute) or route.body_field is None or place[:1] != ("body",):
        return []
    return fields_at(route.body_field.field_info.annotation, place[1:-1])


def validation(found: Iterable[Mapping[str, Any]], known: Iterable[str]) -> ApiError:
    """The first of pydantic's complaints."""
    first = next(iter(found))
    loc = [str(part) for part in first["loc"]]
    place = loc[1:] if loc and loc[0] in ("body", "query", "path", "header") else loc
    name = ".".join(place)
    if first["type"] == "extra_forbidden" and known:
        return unknown(place[-1], known)
    if first["type"] == "missing":
        return ApiError(400, f"{name}: it is missing", param=name or None, code="missing_member")
    if first["type"] == "json_invalid":
        return ApiError(
            400, f"the body is not JSON ({first.get('ctx', {}).get('error', first['msg'])})", code="not_json"
        )
    if first["type"] == "value_error":  # of a validator of ours, which names the member
        text = str(first.get("ctx", {}).get("error", first["msg"]))
        return ApiError(400, text, param=text.partition(":")[0], code="invalid_value")
    given = first.get("input")
    shown = f": {given!r}" if isinstance(given, str | int | float | bool) and len(repr(given)) < 60 else ""
    return ApiError(400, f"{name}{shown}: {first['msg']}", param=name or None, code="invalid_value")
