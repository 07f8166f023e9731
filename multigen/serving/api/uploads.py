"""Uploads: what they are by their first bytes, and media made of them within limits that hold before decoding."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen import registry
from multigen.errors import MediaError
from multigen.modalities import Modality
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image
from multigen.modalities.raster import to_channels
from multigen.registry import Part
from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import Upload
from multigen.serving.api.state import Limits
from multigen.serving.engine.models import Served

T = TypeVar("T")
# First bytes -> suffix.
_BEGIN = (
    (b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF87a", ".gif"), (b"GIF89a", ".gif"),
    (b"BM", ".bmp"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"), (b"fLaC", ".flac"), (b"OggS", ".ogg"),
    (b"ID3", ".mp3"), (b"\xff\xf1", ".aac"), (b"\xff\xf9", ".aac"), (b"\xff\xfb", ".mp3"), (b"\xff\xf3", ".mp3"),
    (b"\xff\xf2", ".mp3"), (b"\x1aE\xdf\xa3", ".webm"), (b"\0\0\x01\xba", ".mpg"),
)  # fmt: skip
_PICTURES = (".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".avif")


def sniffed(content: bytes) -> str | None:
    """The suffix that goes with what a file holds; None where it is none that is known here."""
    if content[:4] == b"RIFF":
        return {b"WAVE": ".wav", b"WEBP": ".webp", b"AVI ": ".avi"}.get(content[8:12])
    if content[4:8] == b"ftyp":
        return ".avif" if content[8:12] in (b"avif", b"avis") else ".mp4"
    return next((suffix for begin, suffix in _BEGIN if content.startswith(begin)), None)


def reader(served: Served, limits: Limits) -> Modality:
    """The modality of a model, which reads nothing beyond the server's limits."""
    part = served.recipe.modality
    known = {argument.name for argument in registry.arguments("modality", part.name)}
    bounds = {
        "max_bytes": limits.upload,
        "max_pixels": limits.pixels,
        "max_seconds": limits.seconds,
        "max_clip_pixels": limits.pixels,
    }
    bounds = {name: min(part.args.get(name, value), value) for name, value in bounds.items() if name in known}
    modality: Modality = registry.build(
        "modality", Part(part.name, {**part.args, **bounds}), where="modality"
    )
    return modality


async def medium_of(upload: Upload, served: Served, limits: Limits) -> Tensor:
    """An upload as a medium [C, *D] of a model. ApiError for what is none, or beyond the limits."""
    modality = reader(served, limits)
    return await _decoded(upload, modality.suffixes, served.modality, modality.read)


def is_picture(upload: Upload) -> bool:
    """Whether an upload is a picture, which a model of videos begins with."""
    return sniffed(upload.content) in _PICTURES


async def first_frame(upload: Upload, served: Served, limits: Limits) -> Tensor:
    """A picture as a clip [C, 1, H, W] of a model of videos."""
    channels = reader(served, limits).shape()[0]
    image = Image(channels=3, max_pixels=limits.pixels, max_bytes=limits.upload)
    picture = await _decoded(upload, image.suffixes, "image", image.read)
    return to_channels(picture, channels)[:, None]


async def mask_of(upload: Upload, size: tuple[int, int], limits: Limits) -> Tensor:
    """What a mask keeps, bool [H, W]: what it does not show as transparent; of one without transparency what is black.

    ApiError where it has another size than the medium.
    """
    image = Image(channels=4, max_pixels=limits.pixels, max_bytes=limits.upload)
    mask = await _decoded(upload, image.suffixes, "image", image.read)
    if tuple(mask.shape[1:]) != size:
        given, asked = (f"{width} x {height}" for height, width in (mask.shape[1:], size))
        text = f"{upload.member}: {given} pixels; the medium has {asked}"
        raise ApiError(400, text, param=upload.member, code="invalid_value")
    if bool((mask[3] < 1).any()):
        return mask[3] >= 0
    return to_channels(mask, 1)[0] < 0


def resized_mask(keep: Tensor, height: int, width: int) -> Tensor:
    """A mask [H, W] resized and cropped as `Modality.fit` does with its picture."""
    h, w = keep.shape
    scale = max(height / h, width / w)
    new = (max(height, round(h * scale)), max(width, round(w * scale)))
    grown = F.interpolate(keep[None, None].float(), size=new, mode="nearest")[0, 0] > 0.5
    top, left = (new[0] - height) // 2, (new[1] - width) // 2
    return grown[top : top + height, left : left + width].contiguous()


async def _decoded(
    upload: Upload, allowed: tuple[str, ...], what: str, read: Callable[[Path], Tensor]
) -> Tensor:
    """What a reader makes of an upload, beside the event loop; the file that it reads is gone afterwards."""
    suffix = sniffed(upload.content)
    if not upload.content:
        raise ApiError(400, f"{upload.member}: the file is empty", param=upload.member, code="invalid_value")
    if suffix is None or suffix not in allowed:
        kind = "of no known format" if suffix is None else f"a {suffix[1:]} file"
        text = f"{upload.member}: it is {kind}; send {what} as one of {', '.join(s[1:] for s in allowed)}"
        raise ApiError(415, text, param=upload.member, code="unsupported_media_type")

    def work() -> Tensor:
        with tempfile.TemporaryDirectory(prefix="multigen-upload-") as folder:
            path = Path(folder, f"medium{suffix}")
            path.write_bytes(upload.content)
            try:
                return guarded(path, read, path).contiguous()
            except MediaError as error:
                text = str(error).replace(f"{path}: ", "").replace(str(path), "the file")
                raise ApiError(
                    400, f"{upload.member}: {text}", param=upload.member, code="invalid_media"
                ) from None

    medium = await asyncio.to_thread(work)
    if not bool(torch.isfinite(medium).all()):
        text = f"{upload.member}: some values are not finite"
        raise ApiError(400, text, param=upload.member, code="invalid_media")
    return medium
