"""/v1/images/edits: img2img, inpainting, outpainting, restyling and restoration of an uploaded picture."""

from __future__ import annotations

import asyncio
import math
import secrets

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from torch import Tensor

from multigen.generation.request import Request, Size
from multigen.modalities.media import Media
from multigen.modalities.raster import resize_to_cover
from multigen.serving.api import leading
from multigen.serving.api.editing import PixelEditMembers, check_mask_is, edit_of
from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import Upload, one, read_form, schema
from multigen.serving.api.images import PICTURES, ImageSampling, check, make
from multigen.serving.api.sampling import request_of, size_of
from multigen.serving.api.state import Server, TheCaller, TheServer
from multigen.serving.api.uploads import mask_of, medium_of
from multigen.serving.engine.models import Served

router = APIRouter()
FILES = {
    "image": "the picture to edit, PNG, JPEG, WebP or another that Pillow reads; of several, as image[], each is "
    "edited by itself",
    "mask": "a picture: what is transparent is made anew; of one without transparency, what is white",
    **leading.FILES,
}


class ImageEdit(ImageSampling, PixelEditMembers):
    """A request to edit a picture."""

    prompt: str = Field(default="", description="what to make")
    size: str | None = Field(
        default=None, description="WIDTHxHEIGHT to bring the picture to first; auto: as it is"
    )
    input_fidelity: None = None


@router.post(
    "/v1/images/edits",
    response_model=None,
    responses=PICTURES,
    openapi_extra=schema(ImageEdit, FILES, required=("image",)),
)
async def edit(http: HttpRequest, server: TheServer, caller: TheCaller) -> Response:
    """Edit a picture."""
    body, uploads = await read_form(http, ImageEdit, FILES, server.limits)
    served = server.served(body.model, "image")
    check(body, served)
    requests = await _requests(body, uploads, server, served)
    return await make(body, requests, http, server, caller, served, "image_edit")


async def _requests(body: ImageEdit, uploads: list[Upload], server: Server, served: Served) -> list[Request]:
    """A request for each picture: none of the models that are served takes several at once."""
    pictures, mask = [upload for upload in uploads if upload.member == "image"], one(uploads, "mask")
    if not pictures:
        raise ApiError(400, "image: it is missing", param="image", code="missing_member")
    check_mask_is(body, mask)
    size = size_of(body.size, served)
    if body.seed is None:
        body = body.model_copy(update={"seed": secrets.randbelow(2**31)})  # the same for all
    images = await leading.pictures_for(body, server, uploads)
    found, pixels = [], 0
    for upload in pictures[: server.limits.n + 1]:  # more are refused with n
        picture, keep = await source(upload, mask, served, server, size, body.mask_is)
        pixels += math.prod(picture.tensor.shape[1:])
        if pixels > server.limits.pixels:
            text = f"image: all together have more than {server.limits.pixels:,} pixels"
            raise ApiError(400, text, param="image", code="invalid_value")
        change = edit_of(body, picture, server.limits, keep)
        found.append(request_of(body, body.prompt, server.limits, edit=change, images=images))
    return found


async def source(
    upload: Upload,
    mask: Upload | None,
    served: Served,
    server: Server,
    size: Size | None = None,
    mask_is: str | None = None,
) -> tuple[Media, Tensor | None]:
    """A picture and what its mask keeps, both brought to a size."""
    if isinstance(size, tuple) and math.prod(size) > server.limits.pixels:
        text = f"size: more than {server.limits.pixels:,} pixels is not allowed"
        raise ApiError(400, text, param="size", code="invalid_value")
    picture = await medium_of(upload, served, server)
    keep = None if mask is None else await mask_of(mask, picture, served, server, mask_is)
    if isinstance(size, tuple) and size != tuple(picture.tensor.shape[1:]):
        return await asyncio.to_thread(_resized, picture, keep, size)
    return picture, keep


def _resized(picture: Media, keep: Tensor | None, size: tuple[int, int]) -> tuple[Media, Tensor | None]:
    resized = picture.with_tensor(resize_to_cover(picture.tensor[None].float(), *size)[0])
    if keep is not None:
        keep = resize_to_cover(keep[None, None].float() * 2 - 1, *size)[0, 0] >= 0
    return resized, keep
