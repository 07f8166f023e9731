"""Image files read with Pillow: limits are checked, and faults named, before anything is decoded."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageOps
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from multigen.errors import MediaError, reason
from multigen.modalities import Limits
from multigen.modalities.colour_profile import grey_curve, to_srgb
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

# Values of white in deep grey, and the tag of a TIFF that counts bits.
_TWELVE, _SIXTEEN, _BITS = 2.0**12 - 1, 2.0**16 - 1, 258
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
            image = stack.enter_context(PillowImage.open(_with_alpha(file), formats=_formats()))
            if image.width * image.height > limits.max_pixels:
                size = f"{image.width} x {image.height} pixels"
                raise MediaError(f"{path}: {size}; the limit max_pixels is {limits.max_pixels:,}")
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


def decode_image(image: PillowImage.Image, name: str = "picture") -> Tensor:
    """Decode a Pillow image of any mode to [C, H, W] in [-1, 1], of 1, 3 or 4 channels, upright and in sRGB.

    EXIF orientation and colour profiles are applied. 16-bit grey keeps its depth; if no value is above 4095, it has
    12 bits. Float pictures are read as 0 to 1, or as 0 to 255 if they exceed 1. `name`: the file's, for warnings.
    """
    twelve = isinstance(image, TiffImageFile) and image.tag_v2.get(_BITS) == (12,)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image, name, twelve)
    image = to_srgb(image, name)
    if image.has_transparency_data:
        return from_levels(np.asarray(image.convert("RGBA")))
    target = "L" if image.mode in ("1", "L") else "RGB"
    levels = np.asarray(image.convert(target))
    return from_levels(levels[..., None] if target == "L" else levels)


def _deep(image: PillowImage.Image, name: str, twelve: bool) -> Tensor:
    """Grey of more than 8 bits, or of floats: [1, H, W] in [-1, 1]. `twelve`: the file says that it has 12 bits."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("some values are not finite")
    share = values / _white(image.mode, float(values.max(initial=0.0)), name, twelve)
    curve = None if image.mode == "F" else grey_curve(image, name)
    if curve is not None:
        share = np.interp(share, np.linspace(0, 1, len(curve)), curve).astype(np.float32)
    return torch.from_numpy(share * 2 - 1).clamp_(-1, 1)[None]


def _white(mode: str, top: float, name: str, twelve: bool) -> float:
    """The value of white in a picture whose largest value is `top`."""
    if mode == "F":
        return 1.0 if top <= 1 else 255.0
    if top > _SIXTEEN:
        return 2.0**31 - 1
    if twelve:
        return _TWELVE
    if not 0 < top <= _TWELVE:
        return _SIXTEEN
    warnings.warn(f"{name}: no value is above {top:.0f}: read as 12 bits, white is 4095", stacklevel=2)
    return _TWELVE
