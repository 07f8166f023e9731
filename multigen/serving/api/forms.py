"""Forms: requests with files, as multipart/form-data."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import Request as HttpRequest

from multigen.serving.api.errors import ApiError, unknown
from multigen.serving.api.members import checked, of_form
from multigen.serving.api.state import Limits

M = TypeVar("M", bound=BaseModel)
_FIELDS, _FILES = 100, 20  # most of a form


@dataclass(frozen=True)
class Upload:
    """A file of a request: the member that it came as, and its bytes. What it is called is not kept."""

    member: str
    content: bytes


async def read_form(
    http: HttpRequest, kind: type[M], files: Collection[str], limits: Limits
) -> tuple[M, list[Upload]]:
    """Members and files of a request. `files`: the members that are files; `a` may come several times as `a[]`.

    A body of JSON has members alone. ApiError for another type of body, an unknown member, a file that is too large.
    """
    given = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given == "application/json":
        return checked(kind, await _json(http), strict=True), []
    if given != "multipart/form-data":
        text = f"content-type: {given or 'none'} is not allowed; send multipart/form-data"
        raise ApiError(415, text, code="unsupported_media_type")
    fields: list[tuple[str, str]] = []
    uploads: list[Upload] = []
    try:
        async with http.form(max_files=_FILES, max_fields=_FIELDS, max_part_size=1 << 20) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    uploads.append(await _upload(name.removesuffix("[]"), value, files, limits))
                elif name.removesuffix("[]") in files and name not in kind.model_fields:
                    raise ApiError(400, f"{name}: send a file, not text", param=name, code="invalid_value")
                else:
                    fields.append((name, value))
    except UnicodeError:  # of a charset that the client named
        raise ApiError(400, "the form is no UTF-8 text", code="invalid_form") from None
    return checked(kind, of_form(kind, fields), strict=False), uploads


def schema(kind: type[BaseModel], files: Mapping[str, str], required: Collection[str] = ()) -> dict[str, Any]:
    """What the OpenAPI document says of the body of such a route: members, and files with what they are."""
    members = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    inner = members.pop("$defs", {})
    text = json.dumps(members)
    for name, one in inner.items():  # in place: the document has no place for them
        text = text.replace(json.dumps({"$ref": f"#/components/schemas/{name}"}), json.dumps(one))
    members = json.loads(text)
    for name, what in files.items():
        members["properties"][name] = {"type": "string", "format": "binary", "description": what}
    members["required"] = [*members.get("required", []), *required]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": members}}}}


def one(uploads: Collection[Upload], member: str) -> Upload | None:
    """The file that came as a member. ApiError where there are several."""
    found = [upload for upload in uploads if upload.member == member]
    if len(found) > 1:
        text = f"{member}: {len(found)} files; the models that are served here take one"
        raise ApiError(400, text, param=member, code="invalid_value")
    return found[0] if found else None


async def _json(http: HttpRequest) -> dict[str, Any]:
    try:
        found = json.loads(await http.body())
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON ({error})", code="not_json") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body is no JSON object", code="not_json")
    return found


async def _upload(name: str, file: UploadFile, files: Collection[str], limits: Limits) -> Upload:
    if name not in files:
        raise unknown(name, files, "file")
    if (file.size or 0) > limits.upload:
        text = f"{name}: {file.size:,} bytes; allowed: {limits.upload:,}"
        raise ApiError(413, text, param=name, code="too_large")
    return Upload(name, await file.read())
