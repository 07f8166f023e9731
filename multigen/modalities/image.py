"""Images: whatever Pillow reads, as [C, H, W] in [-1, 1]."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageOps
from torch import Tensor

from multigen.errors import MediaError, message
from multigen.modalities import Info, Limits, Modality
from multigen.modalities.container import check_file
from multigen.modalities.member import Source, located
from multigen.modalities.raster import (
    WHITE,
    cover,
    data_url,
    enlargement,
    from_levels,
    mode,
    pair,
    picture,
    sheet,
    to_channels,
    to_levels,
)
from multigen.storage.files import atomic

# Formats that Pillow decodes itself. EPS and the like, which start other programs, stay out.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
# What Pillow's readers raise on damaged files.
FAULTS = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, MemoryError,
    struct.error, zlib.error, PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning,
)  # fmt: skip
_WRITERS: dict[str, dict[str, object]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "quality": 95, "method": 4},
}


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    PillowImage.init()
    return tuple(f for f in FORMATS if f in PillowImage.OPEN)


@contextmanager
def opened(path: Source, limits: Limits) -> Iterator[PillowImage.Image]:
    """The file as a Pillow image, nothing decoded yet; every fault inside the block becomes a MediaError.

    The number of pixels in the header is checked first, so that a small file cannot unfold to a huge picture.
    """
    check_file(path, limits)
    try:
        with ExitStack() as stack:
            file = path if isinstance(path, Path) else stack.enter_context(path.open())
            image = stack.enter_context(PillowImage.open(file, formats=_formats()))
            if image.width * image.height > limits.max_pixels:
                size = f"{image.width} x {image.height} pixels"
                raise MediaError(f"{path}: {size}; the limit max_pixels is {limits.max_pixels:,}")
            yield image
    except MediaError:
        raise
    except FAULTS as error:
        raise MediaError(f"{path}: {_reason(error, limits)}") from error


def _reason(error: BaseException, limits: Limits) -> str:
    if isinstance(error, PillowImage.DecompressionBombError | PillowImage.DecompressionBombWarning):
        return f"far more pixels than the limit max_pixels, {limits.max_pixels:,}"
    if isinstance(error, PillowImage.UnidentifiedImageError):
        return "cannot be read (not a picture of a known format)"
    return f"cannot be read ({error})"


def decode(image: PillowImage.Image) -> Tensor:
    """A Pillow image of any mode -> [C, H, W] in [-1, 1] with 1, 3 or 4 channels; EXIF orientation applied.

    16-bit grey keeps its depth. Float pictures are taken as 0 to 1, or as 0 to 255 where they exceed 1.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image)
    if image.has_transparency_data:
        return from_levels(np.asarray(image.convert("RGBA")))
    target = "L" if image.mode in ("1", "L") else "RGB"
    levels = np.asarray(image.convert(target))
    return from_levels(levels[..., None] if target == "L" else levels)


def _deep(image: PillowImage.Image) -> Tensor:
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("some values are not finite")
    top = float(values.max(initial=0.0))
    usual, largest = (1.0, 255.0) if image.mode == "F" else (65535.0, 2.0**31 - 1)
    white = usual if top <= usual else largest
    return torch.from_numpy(values / white * 2 - 1).clamp_(-1, 1)[None]


class Image(Modality):
    """Modality "image". `size` is a side or (height, width) in pixels; `channels` 1 grey, 3 RGB, 4 RGBA.

    `background` (levels 0 to 255) shows through transparent pixels where `channels` has no alpha.
    `max_pixels` and `max_bytes` limit what is opened.
    """

    name = "image"
    suffixes = (
        ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".pcx",
        ".pgm", ".ppm", ".pnm", ".qoi", ".tga",
    )  # fmt: skip
    suffix = ".png"
    writes = tuple(_WRITERS)
    animation = ""

    def __init__(
        self,
        *,
        size: int | tuple[int, int] = 64,
        channels: Literal[1, 3, 4] = 3,
        background: tuple[int, int, int] = WHITE,
        max_pixels: int = Limits.max_pixels,
        max_bytes: int = Limits.max_bytes,
    ) -> None:
        self.size, self.channels = pair(size), channels
        if not all(0 <= level <= 255 for level in background):
            raise ValueError(
                f"background: {background!r} is not allowed. Allowed: three levels from 0 to 255."
            )
        self.background = background
        self.limits = Limits(max_bytes=max_bytes, max_pixels=max_pixels)

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, int, int]:
        """(C, H, W). ValueError if a duration is given: an image has none."""
        if duration is not None:
            raise ValueError(f"duration: {duration!r} is not allowed. An image has no duration; give a size.")
        return (self.channels, *(self.size if size is None else pair(size)))

    def info(self, path: str | Source) -> Info:
        """Width, height (as shown, after EXIF rotation) and channels from the header."""
        path = located(path)
        with opened(path, self.limits) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            width, height = image.size[::-1] if turned else image.size
            return Info(width=width, height=height, channels=len(image.getbands()))

    def read(self, path: str | Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """[C, H, W] at this modality's channels; of an animation the first frame. MediaError names the fault.

        ValueError where a span (`start`, `duration`) is asked for.
        """
        path = located(path)
        if start or duration is not None:
            raise ValueError("start, duration: an image has no span")
        with opened(path, self.limits) as image:
            media = decode(image)
        return to_channels(media, self.channels, self.background)

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """[C, H, W] -> `shape`: antialiased resize that covers it, then a crop (centre, or from `rng`)."""
        channels, height, width = shape
        media = to_channels(media, channels, self.background)
        return cover(media[None], height, width, rng)[0]

    def write(self, media: Tensor, path: str | Path) -> None:
        """[C, H, W] to .png, .jpg or .webp, atomically. Alpha is composited on the background for .jpg."""
        path = Path(path)
        if path.suffix.lower() not in self.writes:
            raise MediaError(message(f"{path}: the suffix", path.suffix, self.writes))
        options = _WRITERS[path.suffix.lower()]
        if media.shape[0] == 4 and options["format"] == "JPEG":
            media = to_channels(media, 3, self.background)
        mode(media.shape[0], str(path))
        levels = to_levels(media, str(path))
        with atomic(path) as temporary:
            picture(levels).save(temporary, **options)  # pyright: ignore[reportArgumentType]

    def preview(self, media: list[Tensor]) -> PillowImage.Image:
        """A near-square grid; pictures smaller than about 96 pixels are enlarged without smoothing."""
        levels = [to_levels(m, "preview") for m in media]
        columns = math.ceil(math.sqrt(len(levels))) or 1
        return sheet([levels[i : i + columns] for i in range(0, len(levels), columns)])

    def html(self, media: Tensor) -> str:
        """An <img> with the PNG embedded; small pictures are enlarged with hard pixels."""
        levels = to_levels(media, "html")
        file = io.BytesIO()
        picture(levels).save(file, format="PNG")
        height, width = levels.shape[:2]
        factor = enlargement(height, width)
        style = "image-rendering:pixelated" if factor > 1 else "max-width:100%;height:auto"
        size = f'width="{width * factor}" height="{height * factor}"'
        return f'<img src="{data_url(file.getvalue(), "image/png")}" {size} style="{style}" alt="image">'
