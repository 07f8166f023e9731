"""Image files read with Pillow: limits are checked, and faults named, before anything is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageOps
from torch import Tensor

from multigen.errors import MediaError
from multigen.modalities import Limits
from multigen.modalities.file_check import check_file
from multigen.modalities.member import Source, open_source
from multigen.modalities.raster import from_levels
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


@contextmanager
def open_image(path: Source, limits: Limits) -> Iterator[PillowImage.Image]:
    """Open a file as a Pillow image, without decoding. Every fault inside the block becomes a MediaError.

    The number of pixels in the header is checked first, so that a small file cannot decompress to a huge picture.
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
        raise MediaError(f"{path}: {_reason(error, path, limits)}") from error


def _reason(error: BaseException, path: Source, limits: Limits) -> str:
    if isinstance(error, PillowImage.DecompressionBombError | PillowImage.DecompressionBombWarning):
        return f"far more pixels than the limit max_pixels, {limits.max_pixels:,}"
    if isinstance(error, PillowImage.UnidentifiedImageError):
        return _missing(path) or "cannot be read (not a picture of a known format)"
    return f"cannot be read ({error})"


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


def decode_image(image: PillowImage.Image) -> Tensor:
    """Decode a Pillow image of any mode to [C, H, W] in [-1, 1], of 1, 3 or 4 channels, EXIF orientation applied.

    16-bit grey keeps its depth. Float pictures are read as 0 to 1, or as 0 to 255 if they exceed 1.
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
    """Grey of more than 8 bits, or of floats: [1, H, W] in [-1, 1]."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("some values are not finite")
    top = float(values.max(initial=0.0))
    usual, largest = (1.0, 255.0) if image.mode == "F" else (65535.0, 2.0**31 - 1)
    white = usual if top <= usual else largest
    return torch.from_numpy(values / white * 2 - 1).clamp_(-1, 1)[None]
