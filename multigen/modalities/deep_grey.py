"""Grey pictures of 16 bits, as scanners, microscopes and telescopes give them: values of a file, and a window of them.

A window (low, high) says which values become -1 and 1; what lies outside is clamped. Values are those of 16 bits, 0 to
65535; those of 8 bits count 257 times.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageOps
from torch import Tensor

from multigen.errors import MediaError
from multigen.modalities.image_native import Form, encode_deep

MOST = 65535


class Window(NamedTuple):
    """The values of a file that are -1 and 1 in a medium."""

    low: float = 0.0
    high: float = float(MOST)


def checked_window(bits: int, channels: int, window: tuple[float, float] | None) -> Window | None:
    """The window of a modality; None for one of 8 bits. ValueError for settings that do not go together."""
    if bits not in (8, 16):
        raise ValueError(f"bits: {bits} is not allowed. Allowed: 8, 16.")
    if bits == 8:
        if window is not None:
            raise ValueError("window: it goes with bits: 16")
        return None
    if channels != 1:
        raise ValueError(f"bits: 16 is not allowed with {channels} channels. Allowed: channels: 1 (grey).")
    found = Window() if window is None else Window(*window)
    if not 0 <= found.low < found.high <= MOST:
        raise ValueError(f"window: {window!r} is not allowed. Allowed: two rising values from 0 to {MOST}.")
    return found


def read_grey(image: PillowImage.Image, name: str, window: Window) -> Tensor:
    """An open grey picture as [1, H, W] float32 in [-1, 1], upright. MediaError for one with colours or floats."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
    elif image.mode in ("1", "L"):
        values = np.asarray(image.convert("L")).astype(np.int64) * 257
    else:
        raise MediaError(f"{name}: pixels of the kind {image.mode}; bits: 16 reads grey of 8 or 16 bits")
    if values.size and (values.min() < 0 or values.max() > MOST):
        raise MediaError(f"{name}: values from {values.min()} to {values.max()}; allowed: 0 to {MOST}")
    return to_media(torch.from_numpy(values)[None], window)


def to_media(values: Tensor, window: Window) -> Tensor:
    """Values of a file as a medium, float32 in [-1, 1]."""
    share = (values.double() - window.low) / (window.high - window.low)
    return (share * 2 - 1).clamp(-1, 1).float()


def to_values(media: Tensor, window: Window) -> Tensor:
    """A medium as values of a file, whole numbers from 0 to 65535."""
    share = (media.double().clamp(-1, 1) + 1) / 2
    return (window.low + share * (window.high - window.low)).round().clamp(0, MOST).long()


def moved(media: Tensor, own: Window, to: Window) -> Tensor:
    """A medium of one window as one of another."""
    share = (media.double() + 1) / 2
    values = own.low + share * (own.high - own.low)
    return (((values - to.low) / (to.high - to.low)) * 2 - 1).clamp(-1, 1).float()


def encode_grey(media: Tensor, suffix: str, window: Window) -> bytes:
    """A medium [1, H, W] as a .png or .tif of 16 bits."""
    values = to_values(media.detach().cpu(), window)
    if suffix == ".png":
        return encode_deep(values.double() / MOST * 2 - 1, Form(1, MOST))
    file = io.BytesIO()
    picture = PillowImage.fromarray(values[0].numpy().astype(np.uint16))
    picture.save(file, format="TIFF", compression="tiff_adobe_deflate")
    return file.getvalue()
