"""/v1/jobs: everything that is long or not in OpenAI's shape. Requests with events, previews and results by address."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from multigen import registry
from multigen.generation.declared import media_options
from multigen.serving.api import sse
from multigen.serving.api.ask import asked, name_for, resumed
from multigen.serving.api.document import answers
from multigen.serving.api.encoding import check_signed, check_suffix
from multigen.serving.api.errors import ApiError, no_model
from multigen.serving.api.job_body import JobBody, request_for
from multigen.serving.api.job_records import events, keep, shown
from multigen.serving.api.shapes import Deleted, Job
from multigen.serving.api.sharing import UNDER_WAY
from multigen.serving.api.state import Caller, Server, TheCaller, TheServer
from multigen.serving.api.uploads import Scratch
from multigen.serving.api.work import submit, whose

router = APIRouter()
EVENTS = "queued, running, step, preview and medium; at last done, failed or cancelled, with the job"
CONFLICT = {409: "the idempotency key came with another body before"}
Key = Annotated[str | None, Header(alias="idempotency-key", max_length=256)]
Last = Annotated[int | None, Header(alias="last-event-id", ge=0)]


@router.post(
    "/v1/jobs",
    response_model=None,
    status_code=201,
    responses=answers(Job, "the job, under way", status=201, others=CONFLICT)
    | answers(Job, "the job that this idempotency key began before"),
)
async def create(
    body: JobBody, http: HttpRequest, server: TheServer, caller: TheCaller, idempotency_key: Key = None
) -> Response:
    """Begin a job. The same idempotency key and body give the same job again."""
    if idempotency_key is None:
        return await _begin(body, http, server, caller, name_for(http, server.store, "job"), "")
    digest = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    name = server.store.id_of("job", caller.key, idempotency_key)
    async with server.background.alone(name):
        before = None if resumed(http) else await server.background.record(name)
        if before is None:
            return await _begin(body, http, server, caller, name, digest)
    _check_same(before, digest)
    return JSONResponse(shown(http, server, before), headers={"x-job-id": before["id"]})


@router.get("/v1/jobs/{name}", response_model=None, responses=answers(Job, "the job"))
async def retrieve(name: str, http: HttpRequest, server: TheServer, caller: TheCaller) -> dict[str, Any]:
    """A job: its state, and the addresses of what it made."""
    return shown(http, server, await _record(server, caller, name))


@router.delete(
    "/v1/jobs/{name}",
    response_model=None,
    responses=answers(Job | Deleted, "the job that was cancelled, or what was forgotten"),
)
async def delete(name: str, http: HttpRequest, server: TheServer, caller: TheCaller) -> dict[str, Any]:
    """Cancel a job that is under way; forget one that has ended, with what it made."""
    record = await _record(server, caller, name)
    if record["status"] in UNDER_WAY:
        await server.background.cancel(name)
        return shown(http, server, await _record(server, caller, name))
    for row in record.get("files", ()):
        await server.background.drop(row["file"])
    await server.background.drop(name)
    return {"id": name, "object": "job.deleted", "deleted": True}


@router.get(
    "/v1/jobs/{name}/events",
    response_model=None,
    response_class=StreamingResponse,
    responses=answers(about="what happens", events=EVENTS),
)
async def follow(
    name: str, http: HttpRequest, server: TheServer, caller: TheCaller, last_event_id: Last = None
) -> Response:
    """What happens to a job, from its beginning or from the event after `last-event-id`, as server-sent events."""
    record = await _record(server, caller, name)
    return sse.stream(events(http, server, record, -1 if last_event_id is None else last_event_id))


async def _begin(
    body: JobBody, http: HttpRequest, server: Server, caller: Caller, name: str, digest: str
) -> Response:
    able = list(server.models.served)
    if body.model not in able and (body.model is not None or not able):
        raise no_model(body.model or "", able)
    served = server.models.served[body.model or able[0]]
    modality = registry.build("modality", served.recipe.modality, where="modality")
    suffix = modality.suffix if body.format is None else f".{body.format.removeprefix('.').lower()}"
    check_suffix(suffix, modality.writes, "format")
    check_signed(served, suffix, "format")
    scratch = Scratch()
    request = await request_for(body, server, served, scratch)
    user = whose(caller, body.user)
    engine, ticket = await submit(
        server, user, served, body, request, body.n, previews=body.previews, suffix=suffix
    )
    again = resumed(http)
    media = media_options(served.recipe)  # files, as those of an edit: nobody is sent them back
    left_out = {"edit": {"media", "mask"}, "images": True, "options": set(media)}
    asked_for = body.model_dump(exclude_none=True, exclude_defaults=True, exclude=left_out)
    record = {
        "id": name,
        "owner": caller.key,
        "status": "queued",
        "model": served.id,
        "began": time.time(),
        "n": body.n,
        "seed": request.seed,
        "format": suffix,
        "request": asked_for,
        "digest": digest,
    }
    record = await server.background.begin(
        name, record, engine, ticket, lambda ticket: keep(server, caller, name, ticket, suffix, scratch),
        ask=asked(http), resumed=again,
    )  # fmt: skip
    _check_same(record, digest)  # another server may have been quicker
    return JSONResponse(shown(http, server, record), 201, headers={"x-job-id": name})


def _check_same(record: dict[str, Any], digest: str) -> None:
    """ApiError where an idempotency key has begun another job."""
    if record["digest"] != digest:
        text = "idempotency-key: it came with another body before"
        raise ApiError(409, text, code="idempotency_conflict", headers={"x-should-retry": "false"})


async def _record(server: Server, caller: Caller, name: str) -> dict[str, Any]:
    """A job of the caller. ApiError where there is none."""
    record = await server.background.record(name) if name.startswith("job_") else None
    if record is None or record["owner"] != caller.key:
        raise ApiError(404, f"there is no job {name!r}", param="job_id", code="not_found")
    return record
