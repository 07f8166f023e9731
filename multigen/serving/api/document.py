"""The OpenAPI document: what every route may answer, beside what each route says itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multigen.serving.api.shapes import Error

Document = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

EVERY = {
    400: "what was sent is not allowed; `param` names the member",
    403: "Host, Origin or scope of the key are not allowed",
    413: "the body, or a file in it, is too large",
    415: "a body, or a file in it, of a kind that is not read here",
    431: "too many headers",
    500: "the server failed",
    503: "the server is about to end, or has too much to do at once",
}
KEYED = {401: "a key is missing or not known", 429: "what the key has a minute is used up"}
MAKING = {
    404: "there is no such model",
    408: "the body comes too slowly",
    429: "the queue is full",
    504: "the deadline has passed",
}
NAMED = {404: "there is no such thing, or not any more"}
_TEXT = {"type": "string"}
# Of server-sent events, the fields of each; `data` is JSON.
_EVENT = {"type": "object", "properties": {"event": _TEXT, "id": _TEXT, "data": _TEXT}, "required": ["data"]}
_BEARER = "key"
_METHODS = ("get", "put", "post", "delete")


def answers(
    shape: Any = None,
    about: str = "what was asked for",
    *,
    status: int = 200,
    files: Mapping[str, str] | None = None,
    events: str = "",
    others: Mapping[int, str] | None = None,
) -> Responses:
    """What a route answers.

    shape   of its JSON, a type
    files   media types of files that it sends, and what they are
    events  what it sends as server-sent events, where it does
    others  errors that are its own, by status
    """
    content: dict[str, Any] = {kind: {"schema": _binary(what)} for kind, what in (files or {}).items()}
    if events:
        content["text/event-stream"] = {"schema": {**_EVENT, "description": events}}
    found: Responses = {status: {"description": about}}
    if shape is not None:
        found[status]["model"] = shape
    if content:
        found[status]["content"] = content
    return found | {code: {"model": Error, "description": text} for code, text in (others or {}).items()}


def completed(document: Document, *, keys: bool) -> Document:
    """A document with the errors of every route, its headers, and the key, where one is asked for."""
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.setdefault("Error", _error(schemas))
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                _complete(item[method], path, method, keys=keys)
    if keys:
        document["components"]["securitySchemes"] = {_BEARER: {"type": "http", "scheme": "bearer"}}
    return document


def _complete(operation: Document, path: str, method: str, *, keys: bool) -> None:
    locked = keys and (path.startswith("/v1/") or path == "/metrics") and not path.startswith("/v1/files/")
    errors = dict(EVERY)
    if locked:
        errors |= KEYED
        operation["security"] = [{_BEARER: []}]
    if method == "post":
        errors |= MAKING
    if "{" in path:
        errors |= NAMED
    there = operation["responses"]
    there.pop("422", None)
    for code, text in errors.items():
        there.setdefault(str(code), {"description": text, "content": _json("Error")})
    for response in there.values():
        header = {"description": "of this request, as the log has it", "schema": {"type": "string"}}
        response.setdefault("headers", {})["x-request-id"] = {**header, "required": True}


def _error(schemas: Mapping[str, Any]) -> Document:
    made = Error.model_json_schema(ref_template="#/components/schemas/{model}")
    fault = made.pop("$defs")["Fault"]
    schemas.setdefault("Fault", fault)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def _json(name: str) -> Document:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _binary(what: str) -> Document:
    return {"type": "string", "format": "binary", "description": what}
