"""Files of media, made beside the event loop."""

from __future__ import annotations

import asyncio
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from multigen.errors import MultigenError
from multigen.modalities.audio_encoding import encode_ffmpeg, playable
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.raster import to_channels, to_levels, to_pil
from multigen.provenance.marking import marked
from multigen.provenance.signing import check_format
from multigen.serving.api.errors import ApiError
from multigen.serving.engine.models import Served
from multigen.serving.trace import timed

# Suffixes that no modality writes: sound without a header, and AAC as a stream.
PCM, AAC = ".pcm", ".aac"


async def encoded(medium: Media, suffix: str, *, quality: int | None = None) -> bytes:
    """The file of a medium. `quality`: of .jpg and .webp pictures, 0 to 100."""
    with timed("encode", {"format": suffix.removeprefix(".")}):
        return await asyncio.to_thread(_file, medium, suffix, quality)


async def drawn(medium: Media) -> bytes:
    """A picture that shows a medium, as PNG: itself, a contact sheet, a spectrogram."""

    def draw() -> bytes:
        file = io.BytesIO()
        if medium.modality.name == "image":
            to_pil(to_levels(in_srgb(medium))).save(file, format="PNG")
        else:
            medium.modality.preview([medium.tensor]).save(file, format="PNG")
        return file.getvalue()

    return await asyncio.to_thread(draw)


def told(content: bytes, suffix: str, medium: Media) -> bytes:
    """The file of a medium, or of a picture of it, that says how the medium was made."""
    return content if medium.made is None else marked(content, suffix, medium.made)


def opaque(medium: Media) -> Media:
    """A picture without its alpha, on white."""
    if medium.tensor.shape[0] != 4:
        return medium
    return replace(medium, tensor=to_channels(in_srgb(medium), 3), modality=Image(channels=3))


def in_srgb(medium: Media) -> Tensor:
    """A picture [C, H, W] in the colours that 8-bit files without a profile have."""
    channels = {1: 1, 3: 3, 4: 4}[medium.tensor.shape[0]]
    return medium.modality.convert(medium.tensor, Image(channels=channels))  # pyright: ignore[reportArgumentType]


def pcm(medium: Media) -> bytes:
    """Samples of a sound alone: 16 bits, little-endian, channels side by side."""
    samples = playable(medium.tensor, "sound")
    return np.round(samples.T * 32767).astype("<i2").tobytes()


def rate_of(medium: Media) -> int:
    """Of a sound, Hz."""
    rate: int = vars(medium.modality)["rate"]
    return rate


def check_signed(served: Served, suffix: str, member: str) -> None:
    """ApiError for a format that cannot be signed, of a model whose media have to be."""
    try:
        check_format(served.recipe.provenance.sign, suffix)
    except MultigenError as error:
        raise ApiError(400, f"{member}: {error}", param=member, code="invalid_value") from None


def check_streamed(served: Served) -> None:
    """ApiError for a sound that is sent before it is whole, of a model whose media have to be signed."""
    if served.recipe.provenance.sign == "on":
        text = "stream: what this model makes is signed, so it is sent whole; set window_by_window to false"
        raise ApiError(400, text, param="stream", code="invalid_value")


def check_suffix(suffix: str, writes: tuple[str, ...], member: str) -> None:
    """ApiError for a format that a modality does not write."""
    if suffix not in writes:
        allowed = ", ".join(one.removeprefix(".") for one in writes)
        text = f"{member}: {suffix.removeprefix('.')!r} is not allowed. Allowed: {allowed}"
        raise ApiError(400, text, param=member, code="invalid_value")


def _file(medium: Media, suffix: str, quality: int | None) -> bytes:
    if suffix == PCM:
        return pcm(medium)
    if quality is not None:
        kind = {".jpg": "JPEG", ".webp": "WEBP"}[suffix]
        picture = opaque(medium) if kind == "JPEG" else medium
        file = io.BytesIO()
        to_pil(to_levels(in_srgb(picture))).save(file, format=kind, quality=quality)
        return told(file.getvalue(), suffix, medium)
    with tempfile.TemporaryDirectory(prefix="multigen-medium-") as folder:
        path = Path(folder, f"medium{suffix}")
        if suffix == AAC:
            encode_ffmpeg(playable(medium.tensor, "sound"), path, rate=rate_of(medium), codec="aac")
            return told(path.read_bytes(), suffix, medium)
        medium.save(path)
        return path.read_bytes()
