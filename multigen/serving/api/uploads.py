"""Uploads: what they are by their first bytes, and media made of them within limits that hold before decoding."""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor

from multigen import registry
from multigen.errors import MediaError
from multigen.generation.original import read_own
from multigen.generation.picture_mask import mask_in
from multigen.generation.request import TRANSPARENT, WHITE
from multigen.modalities import Modality
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.pace import per_second, said
from multigen.modalities.raster import to_channels
from multigen.provenance.made import SourceFile
from multigen.provenance.sounds import id3_size
from multigen.registry import Part
from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import Upload
from multigen.serving.api.inline import decode
from multigen.serving.api.state import Limits, Server
from multigen.serving.engine.models import Served

T = TypeVar("T")
# First bytes -> suffix.
_BEGIN = (
    (b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF87a", ".gif"), (b"GIF89a", ".gif"),
    (b"BM", ".bmp"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"), (b"fLaC", ".flac"), (b"OggS", ".ogg"),
    (b"\xff\xf1", ".aac"), (b"\xff\xf9", ".aac"), (b"\xff\xfb", ".mp3"), (b"\xff\xf3", ".mp3"),
    (b"\xff\xf2", ".mp3"), (b"\x1aE\xdf\xa3", ".webm"), (b"\0\0\x01\xba", ".mpg"), (b"MThd", ".mid"),
)  # fmt: skip
_WHOLE = 16  # times the length of what a model makes
_TAGGED = ((b"fLaC", ".flac"), (b"\xff\xf1", ".aac"), (b"\xff\xf9", ".aac"))  # after an ID3 tag
_SCORE, _HEAD = re.compile(rb"<score-(partwise|timewise)\b"), 4096  # in so many bytes of MusicXML
_PICTURES = (".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".avif")

_OTHERS = (".wav", ".webp", ".avi", ".avif", ".mp4", ".mxl", ".musicxml")
_KNOWN = frozenset((*(suffix for _, suffix in (*_BEGIN, *_TAGGED)), *_OTHERS))


def sniffed(content: bytes) -> str | None:
    """The suffix that goes with what a file holds; None where it is none that is known here."""
    if content[:4] == b"RIFF":
        return {b"WAVE": ".wav", b"WEBP": ".webp", b"AVI ": ".avi"}.get(content[8:12])
    if content[4:8] == b"ftyp":
        return ".avif" if content[8:12] in (b"avif", b"avis") else ".mp4"
    if content[:3] == b"ID3":  # signed FLAC begins with such a tag, too
        inner = content[id3_size(content) :][:4]
        return next((suffix for begin, suffix in _TAGGED if inner.startswith(begin)), ".mp3")
    if content[:4] == b"PK\3\4" and b"META-INF/container.xml" in content:
        return ".mxl"
    found = next((suffix for begin, suffix in _BEGIN if content.startswith(begin)), None)
    return ".musicxml" if found is None and _SCORE.search(content[:_HEAD]) else found


def named_by(content: bytes, allowed: Sequence[str]) -> str | None:
    """As `sniffed`; of a modality none of whose files are known here, that of another package, its first suffix."""
    found = sniffed(content)
    return allowed[0] if found is None and allowed and not _KNOWN & set(allowed) else found


def reader(served: Served, limits: Limits) -> Modality:
    """The modality of a model, which reads nothing beyond the server's limits."""
    return bounded(served.recipe.modality, limits)


def bounded(part: Part, limits: Limits) -> Modality:
    """A modality that reads nothing beyond the server's limits."""
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


class Scratch:
    """A folder that lasts as long as the object: what is read from it later is still there."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="multigen-upload-"))
        self._end = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def close(self) -> None:
        """Remove it now; nothing is read from it any more."""
        self._end()


async def medium_of(upload: Upload, served: Served, server: Server, scratch: Scratch | None = None) -> Media:
    """An upload as a medium in its file's own form, as `multigen edit` reads it; what is kept of it stays as it is.

    scratch  where the file of a video stays, whose sound is read when the edited one is written

    ApiError for what is no such medium, or beyond the limits.
    """
    return await medium_of_kind(upload, served.recipe.modality, server, scratch)


async def medium_of_kind(upload: Upload, part: Part, server: Server, scratch: Scratch | None = None) -> Media:
    """As `medium_of`, an upload as a medium of a modality."""
    modality = bounded(part, server.limits)
    scratch = scratch or Scratch()
    own, medium = await _decoded(
        upload, modality.suffixes, modality.name, partial(read_own, modality), scratch, server
    )
    _check_length(upload, medium, own, modality, server.limits)
    return Media(await asyncio.to_thread(_finite, upload, medium), own, file=source_file(upload))


def _check_length(upload: Upload, medium: Tensor, own: Modality, modality: Modality, limits: Limits) -> None:
    """ApiError for a medium that is too long; its own limits, where it has them, hold before it is decoded.

    What a model makes much of is long by nature: sixteen of its own media are always allowed, such as of a series.
    """
    pace = per_second(own)
    most = max(limits.seconds, _WHOLE * modality.shape()[1] / (per_second(modality) or math.inf))
    if pace and (medium.shape[1] - 1) / pace > most:
        text = f"{upload.member}: {said(own, medium.shape[1] / pace)}; allowed: up to {said(own, most)}"
        raise ApiError(400, text, param=upload.member, code="invalid_media")


def source_file(upload: Upload) -> SourceFile:
    """The file of an upload, which the file of its edit names."""
    return SourceFile(sniffed(upload.content) or "", content=upload.content)


def inline_upload(member: str, text: str, limits: Limits) -> Upload:
    """A file that came as text. ApiError for what is no base64, an address of another kind, and what is too large."""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise ApiError(
                400, f"{member}: a data: address in base64, please", param=member, code="invalid_value"
            )
    elif ":" in text[:16]:
        what = f"{member}: addresses are not fetched; send the file as base64"
        raise ApiError(400, what, param=member, code="invalid_value")
    if len(text) * 3 // 4 > limits.upload + 2:
        what = f"{member}: more than {limits.upload:,} bytes"
        raise ApiError(413, what, param=member, code="too_large")
    try:
        return Upload(member, decode(text))
    except ValueError:
        raise ApiError(400, f"{member}: not base64", param=member, code="invalid_value") from None


def is_picture(upload: Upload) -> bool:
    """Whether an upload is a picture, which a model of videos begins with."""
    return sniffed(upload.content) in _PICTURES


async def first_frame(upload: Upload, served: Served, server: Server) -> Tensor:
    """A picture as a clip [C, 1, H, W] of a model of videos."""
    channels = reader(served, server.limits).shape()[0]
    picture = await picture_of(upload, 3, server)
    return (await asyncio.to_thread(to_channels, picture, channels))[:, None]


async def mask_of(
    upload: Upload, medium: Media, served: Served, server: Server, meaning: str | None
) -> Tensor:
    """What a mask keeps of a medium, bool [*D]; one of another size is resized.

    meaning  what of it is made anew; None, as OpenAI's clients have it: what is transparent, and where nothing is,
             what is white
    """
    mask, modality = await picture_of(upload, 4, server), reader(served, server.limits)

    def kept() -> Tensor:
        said = meaning or (TRANSPARENT if bool((mask[3] < 1).any()) else WHITE)
        return mask_in(mask, medium.modality.convert(medium.tensor, modality), said, upload.member)

    keep = await asyncio.to_thread(kept)
    return keep if keep.ndim == 2 else keep[:1].expand(medium.tensor.shape[1:])


async def picture_of(upload: Upload, channels: Literal[3, 4], server: Server) -> Tensor:
    """A picture [C, H, W] in sRGB."""
    limits = server.limits
    image = Image(channels=channels, max_pixels=limits.pixels, max_bytes=limits.upload)
    picture = await _decoded(upload, image.suffixes, "image", image.read, Scratch(), server)
    return await asyncio.to_thread(_finite, upload, picture)


def _finite(upload: Upload, medium: Tensor) -> Tensor:
    if not bool(torch.isfinite(medium).all()):
        text = f"{upload.member}: some values are not finite"
        raise ApiError(400, text, param=upload.member, code="invalid_media")
    return medium.contiguous()


async def _decoded(
    upload: Upload,
    allowed: tuple[str, ...],
    what: str,
    read: Callable[[Path], T],
    scratch: Scratch,
    server: Server,
) -> T:
    """What a reader makes of an upload, beside the event loop. ApiError for what is no such file."""
    suffix = named_by(upload.content, allowed)
    if not upload.content:
        raise ApiError(400, f"{upload.member}: the file is empty", param=upload.member, code="invalid_value")
    if suffix is None or suffix not in allowed:
        kind = "of no known format" if suffix is None else f"a {suffix[1:]} file"
        text = f"{upload.member}: it is {kind}; send {what} as one of {', '.join(s[1:] for s in allowed)}"
        raise ApiError(415, text, param=upload.member, code="unsupported_media_type")

    path = scratch.path / f"{upload.member.replace('.', '_')}{suffix}"
    await asyncio.to_thread(path.write_bytes, upload.content)
    try:
        return await server.readers.read(path, read, path)
    except MediaError as error:
        text = str(error).replace(f"{path}: ", "").replace(str(path), "the file")
        raise ApiError(400, f"{upload.member}: {text}", param=upload.member, code="invalid_media") from None
