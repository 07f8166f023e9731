"""Members of a request: known, converted and checked, whether they came as JSON or as fields of a form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from multigen.serving.api.errors import ApiError, validation
from multigen.serving.api.fields import alternatives, fields_at

M = TypeVar("M", bound=BaseModel)
DEEPEST = 8  # names within names in the name of a field
_SCALAR = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?|true|false|null")


class Members(BaseModel):
    """The members of a request. A null is as if it were left out; none that is unknown is taken."""

    # Strict: what comes as JSON has its types. What comes as a form is text, and `checked` converts it.
    model_config = {"extra": "forbid", "allow_inf_nan": False, "strict": True}

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {name: _whole(value) for name, value in given.items() if value is not None}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema, with null for every member that may be left out."""
        made = handler(core_schema)
        inner = handler.resolve_ref_schema(made)
        for name, one in inner.get("properties", {}).items():
            if name not in inner.get("required", ()) and "null" not in str(one):
                said = {k: one.pop(k) for k in ("default", "description", "title") if k in one}
                inner["properties"][name] = {"anyOf": [one, {"type": "null"}], **said}
        return made


def _whole(value: Any) -> Any:
    """A number such as 3.0 as the integer that JSON takes it for."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def checked(kind: type[M], given: Mapping[str, Any], *, strict: bool) -> M:
    """The members of a kind of request. ApiError names what is wrong, and for an unknown member the nearest."""
    try:
        return kind.model_validate(given, strict=strict)
    except ValidationError as error:
        found = error.errors()
        raise validation(found, fields_at(kind, found[0]["loc"][:-1])) from None


def of_form(kind: type[BaseModel], fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Fields of a form as members: `a[b]` is the member b of a, `a[]` one more of a list; JSON is read where a field
    is no text. Numbers and booleans are converted when the members are checked. ApiError for a field that comes twice.
    """
    out: dict[str, Any] = {}
    for name, text in fields:
        path = name.replace("]", "").split("[")
        if len(path) > DEEPEST:
            text = f"{name[:40]}: it is nested more than {DEEPEST} deep"
            raise ApiError(400, text, param=name[:40], code="invalid_value")
        if path[0] not in kind.model_fields:
            _put(out, [path[0]], text, name)
        elif len(path) == 1:
            _put(out, path, _value(kind.model_fields[path[0]].annotation, text, name), name)
        else:
            _put(out, path, _plain(path[-1], text), name)
    return out


def _plain(key: str, text: str) -> Any:
    """A number or boolean inside of an object, whose members have no declared types; a name is text."""
    if key == "name" or not _SCALAR.fullmatch(text):
        return text
    return json.loads(text)


def _value(annotation: Any, text: str, name: str) -> Any:
    """Text as it is where the member is text, JSON where it looks like it and the member is not."""
    kinds = [one for one in alternatives(annotation) if one is not type(None)]
    if kinds == [str] or text[:1] not in ("{", "["):
        return text if text or kinds == [str] else None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"{name}: not JSON ({error})", param=name, code="not_json") from None


def _put(out: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    """Put a value at a path; "" stands for one more of a list."""
    first, rest = path[0], path[1:]
    if not rest:
        if first in out:
            raise ApiError(400, f"{name}: it comes twice", param=name, code="invalid_value")
        out[first] = value
        return
    if rest[0] != "":
        inner = out.setdefault(first, {})
        if not isinstance(inner, dict):
            raise ApiError(400, f"{name}: it does not go with {first}", param=name, code="invalid_value")
        _put(inner, rest, value, name)
        return
    rows = out.setdefault(first, [])
    if not isinstance(rows, list):
        raise ApiError(400, f"{name}: it does not go with {first}", param=name, code="invalid_value")
    if len(rest) == 1:
        rows.append(value)
    elif rows and isinstance(rows[-1], dict) and rest[1] not in rows[-1]:
        _put(rows[-1], rest[1:], value, name)
    else:
        rows.append({})
        _put(rows[-1], rest[1:], value, name)
