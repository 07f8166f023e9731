"""What a job is asked with: a `Request` of Python and the command line as JSON, an edit's media as base64."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field, Strict

from multigen import registry
from multigen.generation.request import EditRequest, Request, Size
from multigen.modalities.pace import unit
from multigen.serving.api.editing import PixelEditMembers, check_mask_is, edit_of
from multigen.serving.api.errors import ApiError
from multigen.serving.api.leading import Led, pictures_for
from multigen.serving.api.overrides import check_overrides
from multigen.serving.api.sampling import Sampling, request_of, size_of
from multigen.serving.api.state import Server
from multigen.serving.api.uploads import Scratch, inline_upload, mask_of, medium_of
from multigen.serving.engine.models import Served


class JobEdit(PixelEditMembers):
    """An edit of a medium that comes with the request."""

    media: str = Field(description="the medium: base64 of its file, or a data: address")
    mask: str | None = Field(
        default=None, description="a picture likewise: what is transparent (or white) is made anew"
    )


class JobBody(Led, Sampling):
    """A job."""

    prompt: str = Field(default="", description="what to make")
    n: int = Field(default=1, ge=1, description="media")
    size: str | int | Annotated[tuple[int, int], Strict(False)] | None = Field(
        default=None, description="pixels: WIDTHxHEIGHT, a side, or [height, width]"
    )
    duration: float | None = Field(
        default=None, gt=0, description="seconds of sound or video, quarters of notes"
    )
    overrides: list[str] = Field(default_factory=list, max_length=32, description="such as sampler.eta=0.5")
    edit: JobEdit | None = Field(default=None, description="the medium to begin with, and how")
    format: str | None = Field(default=None, max_length=8, description="of the files: png, mp3, webm ...")
    previews: int = Field(default=0, ge=0, le=8, description="of each medium, among the job's events")
    user: str | None = Field(default=None, max_length=256, description="users of one key take turns by it")


async def request_for(body: JobBody, server: Server, served: Served, scratch: Scratch) -> Request:
    """The request that a job makes. `scratch`: where a clip stays until it is written."""
    limits = server.limits
    edit = None if body.edit is None else await _edit(body.edit, server, served, scratch)
    size = size_of(body.size, served) if isinstance(body.size, str) else _size(body.size)
    overrides = check_overrides(body.overrides, limits)
    images = await pictures_for(body, server)
    return request_of(
        body,
        body.prompt,
        limits,
        size=size,
        duration=body.duration,
        edit=edit,
        overrides=overrides,
        images=images,
        unit=unit(registry.build("modality", served.recipe.modality, where="modality")),
    )


def _size(size: int | tuple[int, int] | None) -> Size | None:
    if size is not None and min((size,) if isinstance(size, int) else size) < 1:
        raise ApiError(400, f"size: {size} is not allowed", param="size", code="invalid_value")
    return size


async def _edit(given: JobEdit, server: Server, served: Served, scratch: Scratch) -> EditRequest:
    limits = server.limits
    upload = await asyncio.to_thread(inline_upload, "edit.media", given.media, limits)
    medium = await medium_of(upload, served, server, scratch)
    check_mask_is(given, given.mask, "edit.mask_is")
    keep = None
    if medium.tensor.ndim == 2:
        for name in ("mask", "fit"):
            if name in given.model_fields_set:
                text = f"edit.{name}: it does not go with a sound" + "; give keep" * (name == "mask")
                raise ApiError(400, text, param=f"edit.{name}", code="invalid_value")
    if given.mask is not None:
        mask = await asyncio.to_thread(inline_upload, "edit.mask", given.mask, limits)
        keep = await mask_of(mask, medium, served, server, given.mask_is)
    return edit_of(given, medium, limits, keep)
