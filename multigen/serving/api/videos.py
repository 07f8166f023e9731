"""/v1/videos, as OpenAI's client calls it: videos are made while the client comes back to ask."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, JSONResponse, Response

from multigen.generation.request import Request
from multigen.serving.api.ask import asked, name_for, resumed
from multigen.serving.api.document import answers
from multigen.serving.api.encoding import check_signed
from multigen.serving.api.errors import ApiError
from multigen.serving.api.files import Kept, file_answers, gone
from multigen.serving.api.forms import read_form, schema
from multigen.serving.api.sampling import Sampling, request_of
from multigen.serving.api.shapes import Deleted, Video, Videos
from multigen.serving.api.state import Caller, Server, TheCaller, TheServer
from multigen.serving.api.uploads import Scratch
from multigen.serving.api.video_records import SHEET, THUMBNAIL, begun, keep, poll_after, remixed, shown
from multigen.serving.api.video_request import FILES, VideoBody, request_for
from multigen.serving.api.work import submit
from multigen.serving.engine.models import Served

router = APIRouter()
NOT_YET = {409: "the video is not completed"}
KINDS = (".mp4", ".webm", ".gif", THUMBNAIL, SHEET)


class Remix(Sampling):
    """A request for another version of a finished video."""

    prompt: str = Field(description="what to make of it")
    strength: float = Field(default=0.6, gt=0, le=1, description="over 0 (as it was) to 1 (all new)")


@router.post(
    "/v1/videos",
    response_model=None,
    responses=answers(Video, "the video, under way"),
    openapi_extra=schema(VideoBody, FILES),
)
async def create(http: HttpRequest, server: TheServer, caller: TheCaller) -> Response:
    """Begin a video."""
    body, uploads = await read_form(http, VideoBody, FILES, server.limits)
    served = server.served(body.model, "video")
    check_signed(served, f".{body.output_format}", "output_format")
    scratch = Scratch()
    request = await request_for(body, uploads, server, served, scratch)
    more = {"output_format": body.output_format}
    return await _begin(http, server, caller, served, body, request, more, scratch)


@router.post(
    "/v1/videos/{name}/remix",
    response_model=None,
    responses=answers(Video, "the new video, under way", others=NOT_YET),
)
async def remix(name: str, body: Remix, http: HttpRequest, server: TheServer, caller: TheCaller) -> Response:
    """Begin another version of a video that is there."""
    record = await _completed(server, caller, name)
    served = server.served(body.model or record["model"], "video")
    check_signed(served, f".{record['output_format']}", "output_format")
    scratch = Scratch()
    edit = await remixed(server, record, served, body.strength, scratch)
    request = request_of(body, body.prompt, server.limits, edit=edit)
    more = {"output_format": record["output_format"], "remixed_from_video_id": name}
    return await _begin(http, server, caller, served, body, request, more, scratch)


@router.get("/v1/videos", response_model=None, responses=answers(Videos, "the videos"))
async def listing(
    server: TheServer,
    caller: TheCaller,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """The videos of the caller, the newest first."""
    rows = await server.background.records("video", caller.key)
    rows = rows[::-1] if order == "asc" else rows
    names = [row["id"] for row in rows]
    if after is not None:
        if after not in names:
            raise ApiError(400, f"after: there is no video {after!r}", param="after", code="invalid_value")
        rows = rows[names.index(after) + 1 :]
    page = rows[:limit]
    return {
        "object": "list",
        "data": [shown(server, row) for row in page],
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(rows) > limit,
    }


@router.get("/v1/videos/{name}", response_model=None, responses=answers(Video, "the video"))
async def retrieve(name: str, server: TheServer, caller: TheCaller) -> Response:
    """One video."""
    return _answer(server, await _record(server, caller, name))


@router.delete("/v1/videos/{name}", response_model=None, responses=answers(Deleted, "it is forgotten"))
async def delete(name: str, server: TheServer, caller: TheCaller) -> dict[str, Any]:
    """Forget a video; one that is under way is cancelled."""
    await _record(server, caller, name)
    await server.background.drop(name)
    return {"id": name, "object": "video.deleted", "deleted": True}


@router.get(
    "/v1/videos/{name}/content",
    response_model=None,
    response_class=FileResponse,
    responses=file_answers(KINDS, NOT_YET),
)
async def content(
    name: str,
    server: TheServer,
    caller: TheCaller,
    variant: Literal["video", "thumbnail", "spritesheet"] = "video",
) -> Response:
    """The file of a finished video, its first frame, or a sheet of its frames."""
    record = await _completed(server, caller, name)
    suffix = {"video": f".{record['output_format']}", "thumbnail": THUMBNAIL, "spritesheet": SHEET}[variant]
    path = await asyncio.to_thread(server.store.file, name, suffix)
    if path is None:
        raise gone()
    return Kept(path, suffix)


async def _begin(
    http: HttpRequest,
    server: Server,
    caller: Caller,
    served: Served,
    body: Sampling,
    request: Request,
    more: dict[str, Any],
    scratch: Scratch,
) -> Response:
    """Accept a request for a video. `scratch`: a folder that it needs until it is written."""
    engine, ticket = await submit(
        server, caller, served, body, request, 1, suffix=f".{more['output_format']}"
    )
    again = resumed(http)
    name = name_for(http, server.store, "video")
    record = {**begun(name, engine, ticket, request), "owner": caller.key, "model": served.id, **more}
    suffix = f".{record['output_format']}"
    record = await server.background.begin(
        name,
        record,
        engine,
        ticket,
        lambda ticket: keep(ticket, suffix, scratch),
        ask=asked(http),
        resumed=again,
    )
    return _answer(server, record)


def _answer(server: Server, record: dict[str, Any]) -> Response:
    after = poll_after(server, record)
    headers = {} if after is None else {"openai-poll-after-ms": str(after)}
    return JSONResponse(shown(server, record), headers=headers)


async def _record(server: Server, caller: Caller, name: str) -> dict[str, Any]:
    """A video of the caller. ApiError where there is none."""
    record = await server.background.record(name) if name.startswith("video_") else None
    if record is None or record["owner"] != caller.key:
        raise ApiError(404, f"there is no video {name!r}", param="video_id", code="not_found")
    return record


async def _completed(server: Server, caller: Caller, name: str) -> dict[str, Any]:
    record = await _record(server, caller, name)
    if record["status"] != "completed":
        status = shown(server, record)["status"]
        headers = {"x-should-retry": "false"}
        raise ApiError(
            409, f"the video {name} is {status}, not completed", code="not_completed", headers=headers
        )
    return record
