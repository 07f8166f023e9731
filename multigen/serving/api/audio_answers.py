"""Requests for sounds and their answers: bytes, JSON or events, whole or while they are made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any, Literal, get_args

from pydantic import Field, model_validator
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from multigen.modalities.media import Media
from multigen.serving.api import sse
from multigen.serving.api.audio_windows import Windows
from multigen.serving.api.document import answers
from multigen.serving.api.encoding import encoded, rate_of
from multigen.serving.api.errors import failed, of
from multigen.serving.api.files import TYPES
from multigen.serving.api.images import usage
from multigen.serving.api.inline import JSON, Inline
from multigen.serving.api.members import Members
from multigen.serving.api.shapes import Sounds
from multigen.serving.api.sound_stream import SoundStream
from multigen.serving.api.work import media_of, released
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.ticket import Ticket

Format = Literal["wav", "mp3", "flac", "opus", "aac", "pcm"]
CHUNK = 1 << 15  # bytes
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


async def answer(
    http: HttpRequest, engine: Engine, ticket: Ticket, body: AudioMembers, kind: str = "audio"
) -> Response:
    """The sounds of a ticket: bytes, JSON or events. `kind`: how its events are called."""
    if body.stream and body.stream_format == "sse":
        return sse.stream(_events(engine, ticket, body, kind))
    media = await media_of(http, engine, ticket)
    files = [await encoded(medium, f".{body.response_format}") for medium in media]
    if body.n > 1:
        rows = [
            {"b64_json": Inline(content), "seed": medium.seed}
            for content, medium in zip(files, media, strict=True)
        ]
        said = {"created": int(time.time()), "data": rows, **_said(body, media[0]), "usage": usage(ticket)}
        return await asyncio.to_thread(JSON, said)
    media_type = _media_type(body, rate_of(media[0]), media[0].tensor.shape[0])
    headers = _headers(media[0].seed)
    if body.stream:
        return StreamingResponse(_pieces(files[0]), media_type=media_type, headers=headers)
    return Response(files[0], media_type=media_type, headers=headers)


async def answer_windows(http: HttpRequest, windows: Windows, body: AudioMembers) -> Response:
    """A sound that is made window by window: bytes or events, as the windows end if it is streamed."""
    if body.stream and body.stream_format == "sse":
        return sse.stream(_window_events(windows, body))
    modality = windows.modality
    headers = _headers(windows.request.seed or 0)
    media_type = _media_type(body, modality.rate, modality.shape()[0])
    if body.stream:
        return StreamingResponse(_coded(windows, body, None), media_type=media_type, headers=headers)
    parts = [part async for part in _coded(windows, body, http)]
    return Response(b"".join(parts), media_type=media_type, headers=headers)


async def _coded(
    windows: Windows, body: AudioMembers, http: HttpRequest | None
) -> AsyncGenerator[bytes, None]:
    """The file of a sound, as its windows end."""
    modality = windows.modality
    made = await asyncio.to_thread(windows.made)
    file = SoundStream(body.response_format, modality.rate, modality.shape()[0], windows.count, made)
    async for piece in windows.pieces(http):
        if content := await asyncio.to_thread(file.feed, piece):
            yield content
    yield await asyncio.to_thread(file.end)


async def _window_events(windows: Windows, body: AudioMembers) -> AsyncGenerator[bytes, None]:
    """audio.delta as windows end, then audio.done."""
    try:
        async for content in _coded(windows, body, None):
            async for piece in _pieces(content):
                data = {"type": "audio.delta", "index": 0, "audio": Inline(piece)}
                yield sse.event(data, "audio.delta")
    except Exception as error:
        yield sse.event(of(error).body(), "error")
        return
    modality = windows.modality
    said = _told(body, modality.rate, modality.shape()[0], windows.count)
    done = {"type": "audio.done", "index": 0, "seed": windows.request.seed, "usage": usage(windows.first)}
    yield sse.event({**done, **said}, "audio.done")


def _media_type(body: AudioMembers, rate: int, channels: int) -> str:
    kind = TYPES[f".{body.response_format}"]
    return f"{kind};rate={rate};channels={channels}" if body.response_format == "pcm" else kind


def _headers(seed: int) -> dict[str, str]:
    return {"x-seed": str(seed), "cache-control": "no-store"}


async def _pieces(content: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), CHUNK):
        yield content[start : start + CHUNK]


async def _events(
    engine: Engine, ticket: Ticket, body: AudioMembers, kind: str
) -> AsyncGenerator[bytes, None]:
    """Each sound in pieces as soon as it is made: audio.delta, then audio.done."""
    async with released(None, engine, ticket):
        async for one in ticket.events():
            if one.kind != "medium":
                continue
            content = await encoded(one.data, f".{body.response_format}")
            async for piece in _pieces(content):
                data = {"type": f"{kind}.delta", "index": one.index}
                yield sse.event({**data, "audio": Inline(piece)}, f"{kind}.delta")
            done = {"type": f"{kind}.done", "index": one.index, "seed": one.data.seed}
            yield sse.event({**done, **_said(body, one.data), "usage": usage(ticket)}, f"{kind}.done")
    if ticket.failure is not None:
        yield sse.event(failed(ticket.failure).body(), "error")


def _said(body: AudioMembers, medium: Media) -> dict[str, Any]:
    channels, count = medium.tensor.shape
    return _told(body, rate_of(medium), channels, count)


def _told(body: AudioMembers, rate: int, channels: int, count: int) -> dict[str, Any]:
    return {
        "response_format": body.response_format,
        "rate": rate,
        "channels": channels,
        "seconds": round(count / rate, 3),
    }
