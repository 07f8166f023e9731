"""/v1/images/generations, as OpenAI's client calls it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from multigen.generation.request import Request
from multigen.modalities.flag import flagged
from multigen.modalities.media import Media
from multigen.serving.api import sse
from multigen.serving.api.document import answers
from multigen.serving.api.encoding import encoded, opaque
from multigen.serving.api.errors import ApiError, failed
from multigen.serving.api.files import address
from multigen.serving.api.inline import JSON, Inline
from multigen.serving.api.leading import Led, pictures_for
from multigen.serving.api.members import Members
from multigen.serving.api.sampling import Sampling, request_of, size_of
from multigen.serving.api.shapes import Pictures
from multigen.serving.api.state import Caller, Server, TheCaller, TheServer
from multigen.serving.api.work import media_of, released, submit, whose
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.models import Served
from multigen.serving.engine.ticket import Ticket

router = APIRouter()
Format = Literal["png", "jpeg", "webp"]
SUFFIX: dict[str, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


PICTURES = answers(
    Pictures, "the pictures", events="with stream: image_generation.partial_image and image_generation.completed, "
    "or image_edit.partial_image and image_edit.completed"
)  # fmt: skip


class ImageMembers(Members):
    """What requests for pictures have in common."""

    prompt: str = Field(description="what to make")
    n: int = Field(default=1, ge=1, description="pictures")
    size: str | None = Field(default=None, description="WIDTHxHEIGHT or auto: the model's own")
    output_format: Format = "png"
    output_compression: int | None = Field(default=None, ge=0, le=100)
    response_format: Literal["b64_json", "url"] | None = Field(
        default=None, description="b64_json by default"
    )
    background: Literal["auto", "opaque", "transparent"] | None = None
    quality: Literal["auto"] | None = Field(default=None, description="auto alone: give steps instead")
    moderation: Literal["auto"] | None = None
    user: str | None = Field(default=None, max_length=256, description="users of one key take turns by it")
    safety_identifier: str | None = Field(default=None, max_length=256)
    stream: bool = False
    partial_images: int = Field(default=0, ge=0, le=3, description="with stream: previews of each picture")


class ImageSampling(ImageMembers, Led, Sampling):
    """Pictures, and how they are made."""


class Generation(ImageSampling):
    """A request for new pictures."""


@router.post("/v1/images/generations", response_model=None, responses=PICTURES)
async def generate(body: Generation, http: HttpRequest, server: TheServer, caller: TheCaller) -> Response:
    """Make pictures."""
    served = server.served(body.model, "image")
    check(body, served)
    size = size_of(body.size, served)
    images = await pictures_for(body, server)
    request = request_of(body, body.prompt, server.limits, size=size, images=images)
    return await make(body, request, http, server, caller, served, "image_generation")


async def make(
    body: ImageSampling,
    request: Request | Sequence[Request],
    http: HttpRequest,
    server: Server,
    caller: Caller,
    served: Served,
    kind: str,
) -> Response:
    """Accept a request for pictures, and answer with them. `kind` is how its events are called."""
    user, previews = (
        whose(caller, body.user or body.safety_identifier),
        body.partial_images if body.stream else 0,
    )
    engine, ticket = await submit(server, user, served, body, request, body.n, previews=previews)
    return await answer(http, server, engine, ticket, body, kind)


def check(body: ImageMembers, served: Served) -> None:
    """ApiError for members that this model cannot honour."""
    alpha = served.recipe.modality.args.get("channels", 3) == 4
    if body.background == "transparent" and not alpha:
        text = f"background: {served.id} makes opaque pictures; give auto or opaque"
        raise ApiError(400, text, param="background", code="invalid_value")
    if body.output_compression is not None and body.output_format == "png":
        text = "output_compression: png is lossless; it goes with jpeg and webp"
        raise ApiError(400, text, param="output_compression", code="invalid_value")
    if body.partial_images and not body.stream:
        raise ApiError(
            400, "partial_images: it goes with stream", param="partial_images", code="invalid_value"
        )


async def answer(
    http: HttpRequest, server: Server, engine: Engine, ticket: Ticket, body: ImageMembers, kind: str
) -> Response:
    """The pictures of a ticket, whole or as they come."""
    if body.stream:
        return sse.stream(_events(server, engine, ticket, body, kind))
    media = await media_of(http, engine, ticket)
    rows = [
        {**await row(http, server, medium, body), **_source(ticket, k, body)}
        for k, medium in enumerate(media)
    ]
    said = {"created": int(time.time()), "data": rows, **_said(body, media), "usage": usage(ticket)}
    return await asyncio.to_thread(JSON, said)


async def row(http: HttpRequest, server: Server, medium: Media, body: ImageMembers) -> dict[str, Any]:
    """One picture as the client reads it."""
    content = await picture(medium, body)
    if body.response_format == "url":
        place = await address(http, server, content, SUFFIX[body.output_format])
        return {"url": place, "seed": medium.seed, **flagged(medium.flags)}
    return {"b64_json": Inline(content), "seed": medium.seed, **flagged(medium.flags)}


async def picture(medium: Media, body: ImageMembers) -> bytes:
    """The file of a picture."""
    shown = await asyncio.to_thread(opaque, medium) if body.background == "opaque" else medium
    return await encoded(shown, SUFFIX[body.output_format], quality=body.output_compression)


def usage(ticket: Ticket) -> dict[str, Any]:
    """What the client wants to read of tokens: here the answered queries of the sampler are counted."""
    spent = sum(ticket.steps.values())
    none = {"image_tokens": 0, "text_tokens": 0}
    return {"input_tokens": 0, "output_tokens": spent, "total_tokens": spent, "input_tokens_details": none}


def _source(ticket: Ticket, index: int, body: ImageMembers) -> dict[str, int]:
    """Which of several pictures one was made from."""
    return {"source": index // body.n} if len(ticket.jobs) > body.n else {}


def _said(body: ImageMembers, media: Sequence[Media]) -> dict[str, Any]:
    height, width = media[0].tensor.shape[-2:]
    background = "transparent" if body.background != "opaque" and media[0].tensor.shape[0] == 4 else "opaque"
    return {
        "output_format": body.output_format,
        "size": f"{width}x{height}",
        "background": background,
        "quality": "auto",
    }


async def _events(
    server: Server, engine: Engine, ticket: Ticket, body: ImageMembers, kind: str
) -> AsyncGenerator[bytes, None]:
    """Partial pictures and whole ones, then nothing more."""
    shown: dict[int, int] = {}
    async with released(None, engine, ticket):
        async for one in ticket.events():
            if one.kind not in ("preview", "medium"):
                continue
            content = await picture(one.data, body)
            data = {"b64_json": Inline(content), "created_at": int(time.time()), **_said(body, [one.data])}
            data |= _source(ticket, one.index, body)
            if one.kind == "preview":
                index = shown[one.index] = shown.get(one.index, -1) + 1
                name = f"{kind}.partial_image"
                yield sse.event({"type": name, "partial_image_index": index, **data}, name)
            else:
                name = f"{kind}.completed"
                seed = {"seed": one.data.seed, **flagged(one.data.flags)}
                yield sse.event({"type": name, "usage": usage(ticket), **data, **seed}, name)
    if ticket.failure is not None:
        yield sse.event(failed(ticket.failure).body(), "error")
