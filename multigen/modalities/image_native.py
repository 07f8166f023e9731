"""Picture files as they are: depth, alpha and colour profile, without conversion of any value."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, replace

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from PIL import Image as PillowImage
from PIL import ImageOps
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from multigen.modalities.coded_colour import Coding, decoded, encoded
from multigen.modalities.colour_profile import from_srgb, to_srgb
from multigen.modalities.colour_tags import coding, png_chunks
from multigen.modalities.image_file import decode_image
from multigen.modalities.member import Source, open_source
from multigen.modalities.raster import from_levels, to_channels, to_levels, to_pil
from multigen.storage.png import png_file

_BITS, _ORIENTATION = 258, 0x0112  # tags of TIFF and EXIF
_PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour type of so many channels
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Form:
    """How a file stores its pixels.

    channels  1 (grey), 3 (RGB) or 4 (RGBA)
    white     the value of white: 255, or 65535 of 16 bits (4095 of 12 bits among 16)
    profile   ICC data of its colours; None: sRGB, or `coding`
    coding    its colours as tags of the file name them; None: sRGB, or `profile`
    """

    channels: int
    white: int = 255
    profile: bytes | None = None
    coding: Coding | None = None

    @property
    def deep(self) -> bool:
        """Whether it has more than 8 bits."""
        return self.white > 255


def read_form(image: PillowImage.Image, path: Source) -> tuple[Tensor, Form]:
    """Read an open picture as [C, H, W] in [-1, 1], upright, in its file's own values, and how they are stored.

    What no file of multigen's can store becomes sRGB of 8 bits (CMYK, Lab) or 16 bits (floats, 32 bits).
    """
    named = coding(image)
    media, form = _read_values(image, path)
    if named is None or named.plain or image.mode in ("I", "F"):  # the last two are sRGB already
        return media, form
    return media, replace(form, coding=named)


def _read_values(image: PillowImage.Image, path: Source) -> tuple[Tensor, Form]:
    profile = image.info.get("icc_profile")
    orientation = image.getexif().get(_ORIENTATION, 1)
    if _is_deep_colour(image, path):
        levels = _upright(_deep_levels(path), orientation)
        return _from_deep(levels, 65535), Form(levels.shape[2], 65535, profile)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.uint16)[..., None]
        white = 4095 if 0 < int(levels.max(initial=0)) <= 4095 else 65535  # as `image_file` has it
        return _from_deep(levels, white), Form(1, white, profile)
    if image.mode.startswith("I") or image.mode == "F":
        return decode_image(image, str(path)), Form(1, 65535)
    if profile is None and coding(image) is None and image.mode in ("RGB", "RGBA"):
        image = to_srgb(image, str(path))  # Adobe RGB that EXIF data alone say, which are not written again
    if image.has_transparency_data:
        return from_levels(np.asarray(image.convert("RGBA"))), Form(4, profile=_of_rgb(image, profile))
    if image.mode in ("1", "L"):
        return from_levels(np.asarray(image.convert("L"))[..., None]), Form(1, profile=profile)
    if image.mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        return from_levels(np.asarray(to_srgb(image, str(path)).convert("RGB"))), Form(3)
    return from_levels(np.asarray(image.convert("RGB"))), Form(3, profile=profile)


def _of_rgb(image: PillowImage.Image, profile: bytes | None) -> bytes | None:
    """The profile of a picture with alpha: that of grey does not go with the three channels that it gets."""
    return None if image.mode in ("L", "LA", "1") else profile


def shown(media: Tensor, form: Form) -> Tensor:
    """[C, H, W] in a file's own colours -> [C', H, W] in sRGB."""
    if form.coding is not None:
        return _of_coding(media, form, form.coding)
    if form.profile is None:
        return media
    picture = to_pil(to_levels(media.clamp(-1, 1)))
    picture.info["icc_profile"] = form.profile
    turned = to_srgb(picture, "the picture")
    if turned is picture:
        return media
    levels = np.asarray(turned)
    return from_levels(levels[..., None] if levels.ndim == 2 else levels)


def stored(media: Tensor, form: Form) -> Tensor:
    """[C, H, W] in sRGB -> [form.channels, H, W] in a file's own colours."""
    if form.coding is not None and form.channels in _MODES:
        return _in_coding(media, form, form.coding)
    if form.profile is None or form.channels not in _MODES:
        return to_channels(media, form.channels)
    colours = to_pil(to_levels(_colours(media, form).clamp(-1, 1)))
    mode = "L" if form.channels == 1 else "RGB"
    try:
        levels = np.asarray(from_srgb(colours, form.profile, mode))
    except ValueError:  # a profile of another kind of picture, which readers ignore, too
        return to_channels(media, form.channels)
    made = from_levels(levels[..., None] if levels.ndim == 2 else levels)
    return _with_alpha_of(media, made) if form.channels == 4 else made


def _of_coding(media: Tensor, form: Form, named: Coding) -> Tensor:
    """`shown` of a file whose tags name its colours."""
    colours = media[:1].expand(3, -1, -1) if len(media) == 1 else media[:3]
    share = ((colours.clamp(-1, 1) + 1) / 2).float().cpu().movedim(0, -1).numpy()
    made = from_levels(decoded(share, named, form.white))
    return made[:1] if len(media) == 1 else torch.cat([made, media[3:].to(made)])


def _in_coding(media: Tensor, form: Form, named: Coding) -> Tensor:
    """`stored` of a file whose tags name its colours."""
    share = ((_colours(media, form).clamp(-1, 1) + 1) / 2).float().cpu().movedim(0, -1).numpy()
    made = torch.from_numpy(encoded(share, named, form.white) * 2 - 1).movedim(-1, 0).contiguous()
    return _with_alpha_of(media.to(made), made) if form.channels == 4 else made[: form.channels]


def _colours(media: Tensor, form: Form) -> Tensor:
    """The three colours that go into a file: with alpha as they are, grey ones for grey."""
    if len(media) == 4 and form.channels == 4:
        return media[:3]
    return to_channels(to_channels(media, 1) if form.channels == 1 else media, 3)


def _with_alpha_of(media: Tensor, colours: Tensor) -> Tensor:
    return torch.cat([colours, media[3:] if len(media) == 4 else torch.ones_like(colours[:1])])


# --- 16 bits ----------------------------------------------------------------------------------------------------


def encode_deep(media: Tensor, form: Form) -> bytes:
    """[C, H, W] as a PNG of 16 bits a channel, with the colour profile or tags."""
    values = ((media.double() + 1) / 2 * form.white).round().clamp(0, form.white)
    levels = values.movedim(0, -1).numpy().astype(">u2")
    height, width, channels = levels.shape
    # Each row less the pixel to its left (filter 1), which compresses better.
    rows = np.frombuffer(np.ascontiguousarray(levels).tobytes(), np.uint8).reshape(height, -1)
    left = np.pad(rows, ((0, 0), (2 * channels, 0)))[:, : rows.shape[1]]
    filtered = np.concatenate([np.ones((height, 1), np.uint8), rows - left], 1)
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOURS[channels], 0, 0, 0)
    profile = b"" if form.profile is None else b"ICC profile\0\0" + zlib.compress(form.profile)
    chunks = [
        (b"IHDR", header),
        (b"iCCP", profile),
        *png_chunks(form.coding),
        (b"IDAT", zlib.compress(filtered.tobytes(), 6)),
        (b"IEND", b""),
    ]
    return png_file((name, data) for name, data in chunks if data or name == b"IEND")


def _is_deep_colour(image: PillowImage.Image, path: Source) -> bool:
    """Whether a file has 16 bits a channel and more than grey, of which Pillow keeps 8."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2.get(_BITS) in ((16, 16, 16), (16, 16, 16, 16))
    if not isinstance(image, PngImageFile):
        return False
    with open_source(path) as file:
        head = file.read(26)
    return head[24] == 16 and head[25] in (2, 4, 6)


def _deep_levels(path: Source) -> np.ndarray:
    """uint16 [H, W, 3 or 4] of a file of 16 bits a channel. ValueError if it cannot be decoded."""
    with open_source(path) as file:
        content = io.BytesIO(file.read())
    with av.open(content, "r") as container:
        frame = next(container.decode(video=0))
    assert isinstance(frame, VideoFrame)
    name = "rgba64le" if "a" in frame.format.name.replace("gray", "") else "rgb48le"
    return frame.reformat(format=name).to_ndarray()


def _from_deep(levels: np.ndarray, white: int) -> Tensor:
    values = torch.from_numpy(np.ascontiguousarray(levels).astype(np.float64)) / white
    return (values * 2 - 1).clamp(-1, 1).movedim(-1, 0).contiguous().float()


def _upright(levels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, C] turned as EXIF says."""
    if orientation in (5, 6, 7, 8):
        levels = levels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    return np.ascontiguousarray(levels)
