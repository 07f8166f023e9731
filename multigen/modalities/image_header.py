"""Image files opened with Pillow: limits are checked, and faults named, before anything is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from PIL import Image as PillowImage
from PIL.TiffImagePlugin import TiffImageFile

from multigen.errors import MediaError, reason
from multigen.modalities import Limits
from multigen.modalities.colour_tags import tag
from multigen.modalities.file_check import check_file
from multigen.modalities.member import Source, open_source
from multigen.storage.packages import install

# Formats that Pillow decodes itself. EPS and the like are left out: they start other programs.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
# What Pillow's readers raise for damaged files.
FAULTS = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, MemoryError,
    RuntimeError, struct.error, zlib.error, PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning,
)  # fmt: skip

_ANIMATED, _ALPHA = 0x02, 0x10  # flags of an extended WebP

# Brands in the first bytes of HEIF and AVIF files.
_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC",
    b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF",
}  # fmt: skip


@cache
def _formats() -> tuple[str, ...]:
    """The `FORMATS` that this Pillow was built with, and HEIF where its package is installed."""
    PillowImage.init()
    if find_spec("pillow_heif") is not None:
        import pillow_heif  # pyright: ignore[reportMissingImports]

        pillow_heif.register_heif_opener(thumbnails=False)
    return tuple(f for f in FORMATS if f in PillowImage.OPEN)


def upright_size(image: PillowImage.Image) -> tuple[int, int]:
    """Return (width, height) after EXIF rotation, without decoding. Pillow turns the size of a TIFF itself."""
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8) and not isinstance(image, TiffImageFile)
    return (image.height, image.width) if turned else (image.width, image.height)


@contextmanager
def open_image(path: Source, limits: Limits) -> Iterator[PillowImage.Image]:
    """Open a file as a Pillow image, without decoding. Every fault inside the block becomes a MediaError.

    The number of pixels in the header is checked first, so that a small file cannot decompress to a huge picture.
    """
    check_file(path, limits)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(path.open("rb") if isinstance(path, Path) else path.open())
            file = _with_alpha(file)
            image = stack.enter_context(PillowImage.open(file, formats=_formats()))
            if image.width * image.height > limits.max_pixels:
                size = f"{image.width} x {image.height} pixels"
                raise MediaError(f"{path}: {size}; the limit max_pixels is {limits.max_pixels:,}")
            tag(image, file)
            yield image
    except MediaError:
        raise
    except FAULTS as error:
        raise MediaError(f"{path}: {_reason(error, path, limits)}") from error


def _with_alpha(file: BinaryIO) -> BinaryIO:
    """A file, or an animated WebP that says that it may be clear.

    Encoders forget to say so where each frame is opaque but covers a part of the canvas only; Pillow then shows black.
    """
    head = file.read(21)
    file.seek(0)
    if head[:4] != b"RIFF" or head[8:16] != b"WEBPVP8X" or not head[20] & _ANIMATED or head[20] & _ALPHA:
        return file
    content = bytearray(file.read())
    content[20] |= _ALPHA
    return io.BytesIO(content)


def _reason(error: BaseException, path: Source, limits: Limits) -> str:
    if isinstance(error, PillowImage.DecompressionBombError | PillowImage.DecompressionBombWarning):
        return f"far more pixels than the limit max_pixels, {limits.max_pixels:,}"
    if isinstance(error, PillowImage.UnidentifiedImageError):
        return _missing(path) or "cannot be read (not a picture of a known format)"
    return f"cannot be read ({reason(error)})"


def _missing(path: Source) -> str:
    """What to install for a picture of a format that is not there; "" for other pictures."""
    with open_source(path) as file:
        head = file.read(12)
    brand = _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    if brand == "HEIC" and "HEIF" not in _formats():
        return f"is HEIC, which needs the package pillow-heif: {install('heif')}"
    if brand == "AVIF" and "AVIF" not in _formats():
        return "is AVIF, which needs Pillow 11.3 or newer, built with it: pip install -U pillow"
    return ""
