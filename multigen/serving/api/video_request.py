"""What a request for a video asks for, with or without a picture or clip that it begins with."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from multigen.generation.request import EditRequest, Request
from multigen.serving.api.editing import Editing, edit_of
from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import Upload, one
from multigen.serving.api.sampling import request_of, size_of
from multigen.serving.api.state import Limits
from multigen.serving.api.uploads import first_frame, is_picture, medium_of, reader
from multigen.serving.engine.models import Served

FILES = {"input_reference": "a picture that the video begins with, or a clip that is edited"}
_EDITING = ("strength", "keep", "extend", "feather", "resample", "invert", "restore", "noise")


class VideoBody(Editing):
    """A request for a video."""

    prompt: str = Field(description="what to make")
    seconds: float | None = Field(default=None, gt=0, description="length; null: the model's own")
    size: str | None = Field(default=None, description="WIDTHxHEIGHT or auto: the model's own")
    output_format: Literal["mp4", "webm", "gif"] = "mp4"


async def request_for(body: VideoBody, uploads: list[Upload], limits: Limits, served: Served) -> Request:
    """The request that a body and its files make. ApiError for members that do not go together."""
    upload, size = one(uploads, "input_reference"), size_of(body.size, served)
    if upload is None:
        if alone := [name for name in _EDITING if name in body.model_fields_set]:
            text = f"{alone[0]}: it goes with input_reference"
            raise ApiError(400, text, param=alone[0], code="invalid_value")
        return request_of(body, body.prompt, limits, size=size, duration=body.seconds)
    natural = request_of(body, body.prompt, limits, size=size, duration=body.seconds)
    shape = reader(served, limits).shape(natural.size, natural.duration)
    if is_picture(upload):
        frame = await first_frame(upload, served, limits)
        edit = _begun_with(body, frame, shape, served, limits)
    else:
        clip = await medium_of(upload, served, limits)
        if body.seconds is not None or body.size is not None:
            clip = reader(served, limits).fit(clip, shape)
        edit = edit_of(body, clip)
    return request_of(body, body.prompt, limits, edit=edit)


def _begun_with(
    body: VideoBody, frame: Tensor, shape: tuple[int, ...], served: Served, limits: Limits
) -> EditRequest:
    """A video whose first frame is given: the rest is made anew."""
    others = [name for name in ("keep", "extend", "restore", "invert") if name in body.model_fields_set]
    if others:
        text = f"{others[0]}: it goes with a clip as input_reference; a picture is the first frame"
        raise ApiError(400, text, param=others[0], code="invalid_value")
    clip = reader(served, limits).fit(frame, shape)
    keep = torch.zeros(clip.shape[1], dtype=torch.bool)
    keep[0] = True
    return edit_of(body, clip, keep)
