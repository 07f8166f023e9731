"""Pictures for a model's adapters, which come with a request: image prompts, edges, depth ..."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from pydantic import Field
from torch import Tensor

from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import Upload
from multigen.serving.api.members import Members
from multigen.serving.api.state import Server
from multigen.serving.api.uploads import inline_upload, picture_of

IMAGES = "images"
FILES = {IMAGES: "pictures for the model's adapters, in their order, each as images[]"}
_MOST = 8


class Led(Members):
    """Members of requests to models that pictures may lead."""

    images: list[str | None] = Field(
        default_factory=list,
        max_length=_MOST,
        description="pictures for the model's adapters, in their order: base64 of a file, or a data: address; null: "
        "the adapter's own",
    )


async def pictures_for(
    given: Led, server: Server, uploads: Collection[Upload] = ()
) -> Sequence[Tensor | None]:
    """The pictures [3, H, W] of a request, from its text or its files. ApiError for both, and for what is none."""
    files = [upload for upload in uploads if upload.member == IMAGES]
    if len(files) > _MOST or (files and given.images):
        text = f"{IMAGES}: " + (
            f"up to {_MOST} are allowed" if not given.images else "send files or text, not both"
        )
        raise ApiError(400, text, param=IMAGES, code="invalid_value")
    if files:
        return [await picture_of(upload, 3, server) for upload in files]
    found: list[Tensor | None] = []
    for text in given.images:
        if text is None:
            found.append(None)
        else:
            upload = await asyncio.to_thread(inline_upload, IMAGES, text, server.limits)
            found.append(await picture_of(upload, 3, server))
    return found
