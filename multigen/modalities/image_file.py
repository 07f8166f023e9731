"""Image files decoded with Pillow: pictures of any mode, upright and in sRGB."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageOps
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from multigen.modalities.colour_profile import grey_curve, to_srgb
from multigen.modalities.raster import from_levels

# Values of white in deep grey, and the tag of a TIFF that counts bits.
_TWELVE, _SIXTEEN, _BITS = 2.0**12 - 1, 2.0**16 - 1, 258


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
