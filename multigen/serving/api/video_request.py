"""What a request for a video asks for, with or without a picture or clip that it begins with."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from multigen.generation.request import EditRequest, Request
from multigen.modalities.media import Media
from multigen.provenance.made import SourceFile
from multigen.serving.api import leading
from multigen.serving.api.editing import PixelEditMembers, check_mask_is, edit_of
from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import Upload, one
from multigen.serving.api.sampling import Sampling, request_of, size_of
from multigen.serving.api.state import Limits, Server
from multigen.serving.api.uploads import (
    Scratch,
    first_frame,
    is_picture,
    mask_of,
    medium_of,
    reader,
    source_file,
)
from multigen.serving.engine.models import Served

FILES = {
    "input_reference": "a picture that the video begins with, or a clip that is edited",
    "mask": "with a clip, a picture: what is transparent is made anew; of one without transparency, what is white",
    **leading.FILES,
}
_EDITING = (
    "strength",
    "keep",
    "extend",
    "feather",
    "resample",
    "invert",
    "purify",
    "restore",
    "noise",
    "fit",
    "mask_is",
)


class VideoBody(PixelEditMembers, leading.Led, Sampling):
    """A request for a video."""

    prompt: str = Field(description="what to make")
    seconds: float | None = Field(default=None, gt=0, description="length; null: the model's own")
    size: str | None = Field(default=None, description="WIDTHxHEIGHT or auto: the model's own")
    output_format: Literal["mp4", "webm", "gif"] = "mp4"


async def request_for(
    body: VideoBody, uploads: list[Upload], server: Server, served: Served, scratch: Scratch
) -> Request:
    """The request that a body and its files make. ApiError for members that do not go together.

    scratch  where a clip stays until the video is written
    """
    limits = server.limits
    upload, mask = one(uploads, "input_reference"), one(uploads, "mask")
    size = size_of(body.size, served)
    check_mask_is(body, mask)
    images = await leading.pictures_for(body, server, uploads)
    if upload is None:
        alone = [name for name in _EDITING if name in body.model_fields_set] + ["mask"] * (mask is not None)
        if alone:
            text = f"{alone[0]}: it goes with input_reference"
            raise ApiError(400, text, param=alone[0], code="invalid_value")
        return request_of(body, body.prompt, limits, size=size, duration=body.seconds, images=images)
    natural = request_of(body, body.prompt, limits, size=size, duration=body.seconds)
    shape = reader(served, limits).shape(natural.size, natural.duration)
    if is_picture(upload):
        frame = await first_frame(upload, served, server)
        edit = _begun_with(body, mask, frame, shape, served, limits, source_file(upload))
    else:
        clip = await medium_of(upload, served, server, scratch)
        keep = None if mask is None else await mask_of(mask, clip, served, server, body.mask_is)
        if body.seconds is not None or body.size is not None:
            clip, keep = _fitted(clip, keep, body, shape, limits)
        edit = edit_of(body, clip, limits, keep)
    return request_of(body, body.prompt, limits, edit=edit, images=images)


def _fitted(
    clip: Media, keep: Tensor | None, body: VideoBody, shape: tuple[int, ...], limits: Limits
) -> tuple[Media, Tensor | None]:
    """A clip and what is kept of it at the length and size that are asked for; what is not asked for stays."""
    frames, sides = clip.tensor.shape[1], tuple(clip.tensor.shape[2:])
    if body.seconds is not None:
        frames = max(1, round(body.seconds * float(vars(clip.modality)["fps"])))
    if body.size not in (None, "auto"):
        sides = shape[2:]
    _check_fits((frames, *sides), limits)

    def fitted(media: Tensor) -> Tensor:
        return clip.modality.fit(media, (media.shape[0], frames, *sides))

    made = clip.with_tensor(fitted(clip.tensor))
    return made, None if keep is None else fitted(keep[None].float() * 2 - 1)[0] >= 0


def _check_fits(sides: tuple[int, ...], limits: Limits) -> None:
    """ApiError for frames that are larger than those of a clip that may be uploaded, before they are made."""
    if math.prod(sides) > limits.pixels:
        text = f"size: with seconds it makes more than {limits.pixels:,} pixels of the file that was sent"
        raise ApiError(400, text, param="size", code="invalid_value")


def _begun_with(
    body: VideoBody,
    mask: Upload | None,
    frame: Tensor,
    shape: tuple[int, ...],
    served: Served,
    limits: Limits,
    file: SourceFile,
) -> EditRequest:
    """A video whose first frame is given, from a file: the rest is made anew."""
    others = [
        name for name in ("keep", "extend", "restore", "invert", "fit") if name in body.model_fields_set
    ]
    others += ["mask"] * (mask is not None)
    if others:
        text = f"{others[0]}: it goes with a clip as input_reference; a picture is the first frame"
        raise ApiError(400, text, param=others[0], code="invalid_value")
    _check_fits(shape[1:], limits)
    modality = reader(served, limits)
    clip = modality.fit(frame, shape)
    keep = torch.zeros(clip.shape[1], dtype=torch.bool)
    keep[0] = True
    return edit_of(body, Media(clip, modality.native(clip), file=file), limits, keep)
