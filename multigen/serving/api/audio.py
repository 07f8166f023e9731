"""/v1/audio/generations and /v1/audio/edits: music and sound."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncGenerator
from typing import Any, Literal, get_args

from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from multigen.modalities.media import Media
from multigen.serving.api import sse
from multigen.serving.api.document import answers
from multigen.serving.api.editing import Editing, edit_of
from multigen.serving.api.encoding import encoded, rate_of
from multigen.serving.api.errors import ApiError, failed
from multigen.serving.api.files import TYPES
from multigen.serving.api.forms import one, read_form, schema
from multigen.serving.api.images import usage
from multigen.serving.api.members import Members
from multigen.serving.api.sampling import Sampling, request_of
from multigen.serving.api.shapes import Sounds
from multigen.serving.api.state import TheCaller, TheServer
from multigen.serving.api.uploads import medium_of
from multigen.serving.api.work import media_of, released, submit, whose
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.ticket import Ticket

router = APIRouter()
Format = Literal["wav", "mp3", "flac", "opus", "aac", "pcm"]
CHUNK = 1 << 15  # bytes
FILES = {"audio": "the sound to edit: WAV, FLAC, MP3, Ogg, Opus, AAC, MP4, WebM"}


SOUNDS = answers(
    Sounds,
    "the sound; of several, JSON",
    files={TYPES[f".{name}"]: name for name in get_args(Format)},
    events="with stream_format sse: audio.delta and audio.done",
)


class AudioMembers(Members):
    """What requests for sounds have in common."""

    prompt: str = Field(description="what to make")
    n: int = Field(default=1, ge=1, description="sounds; of more than one the answer is JSON")
    response_format: Format = "wav"
    stream: bool = Field(default=False, description="each sound as soon as it is made, in pieces")
    stream_format: Literal["sse", "audio"] = Field(
        default="audio", description="with stream: the bytes of one sound, or events"
    )
    user: str | None = Field(default=None, max_length=256, description="users of one key take turns by it")

    @model_validator(mode="after")
    def _fits(self) -> AudioMembers:
        if self.stream and self.stream_format == "audio" and self.n > 1:
            raise ValueError("n: a stream of bytes is one sound; give stream_format sse")
        if self.stream_format == "sse" and not self.stream:
            raise ValueError("stream_format: sse goes with stream")
        return self


class AudioGeneration(AudioMembers, Sampling):
    """A request for new sounds."""

    seconds: float | None = Field(default=None, gt=0, description="length; null: the model's own")


class AudioEdit(AudioMembers, Editing):
    """A request to edit a sound."""

    prompt: str = Field(default="", description="what to make")


@router.post("/v1/audio/generations", response_model=None, responses=SOUNDS)
async def generate(
    body: AudioGeneration, http: HttpRequest, server: TheServer, caller: TheCaller
) -> Response:
    """Make sounds."""
    served = server.served(body.model, "audio")
    request = request_of(body, body.prompt, server.limits, duration=body.seconds)
    engine, ticket = await submit(server, whose(caller, body.user), served, body, request, body.n)
    return await answer(http, engine, ticket, body)


@router.post(
    "/v1/audio/edits",
    response_model=None,
    responses=SOUNDS,
    openapi_extra=schema(AudioEdit, FILES, required=("audio",)),
)
async def edit(http: HttpRequest, server: TheServer, caller: TheCaller) -> Response:
    """Extend a sound, make a part of it anew (`keep`), or vary it (`strength`)."""
    body, uploads = await read_form(http, AudioEdit, FILES, server.limits)
    served = server.served(body.model, "audio")
    upload = one(uploads, "audio")
    if upload is None:
        raise ApiError(400, "audio: it is missing", param="audio", code="missing_member")
    sound = await medium_of(upload, served, server.limits)
    request = request_of(body, body.prompt, server.limits, edit=edit_of(body, sound))
    engine, ticket = await submit(server, whose(caller, body.user), served, body, request, body.n)
    return await answer(http, engine, ticket, body)


async def answer(http: HttpRequest, engine: Engine, ticket: Ticket, body: AudioMembers) -> Response:
    """The sounds of a ticket: bytes, JSON or events."""
    if body.stream and body.stream_format == "sse":
        return sse.stream(_events(engine, ticket, body))
    media = await media_of(http, engine, ticket)
    files = [await encoded(medium, f".{body.response_format}") for medium in media]
    if body.n > 1:
        rows = [
            {"b64_json": base64.b64encode(content).decode("ascii"), "seed": medium.seed}
            for content, medium in zip(files, media, strict=True)
        ]
        return JSONResponse(
            {"created": int(time.time()), "data": rows, **_said(body, media[0]), "usage": usage(ticket)}
        )
    kind = TYPES[f".{body.response_format}"]
    if body.response_format == "pcm":
        kind = f"{kind};rate={rate_of(media[0])};channels={media[0].tensor.shape[0]}"
    headers = {"x-seed": str(media[0].seed), "cache-control": "no-store"}
    if body.stream:
        return StreamingResponse(_pieces(files[0]), media_type=kind, headers=headers)
    return Response(files[0], media_type=kind, headers=headers)


async def _pieces(content: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), CHUNK):
        yield content[start : start + CHUNK]


async def _events(engine: Engine, ticket: Ticket, body: AudioMembers) -> AsyncGenerator[bytes, None]:
    """Each sound in pieces as soon as it is made: audio.delta, then audio.done."""
    async with released(None, engine, ticket):
        async for one in ticket.events():
            if one.kind != "medium":
                continue
            content = await encoded(one.data, f".{body.response_format}")
            async for piece in _pieces(content):
                data = {"type": "audio.delta", "index": one.index}
                yield sse.event({**data, "audio": base64.b64encode(piece).decode("ascii")}, "audio.delta")
            done = {"type": "audio.done", "index": one.index, "seed": one.data.seed}
            yield sse.event({**done, **_said(body, one.data), "usage": usage(ticket)}, "audio.done")
    if ticket.failure is not None:
        yield sse.event(failed(ticket.failure).body(), "error")


def _said(body: AudioMembers, medium: Media) -> dict[str, Any]:
    rate = rate_of(medium)
    return {
        "response_format": body.response_format,
        "rate": rate,
        "channels": medium.tensor.shape[0],
        "seconds": round(medium.tensor.shape[1] / rate, 3),
    }
