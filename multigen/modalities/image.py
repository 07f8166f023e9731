"""Images: what Pillow reads, as [C, H, W] in [-1, 1]."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from multigen.errors import MediaError, message
from multigen.modalities import HEIGHT, WIDTH, Info, Limits, Modality
from multigen.modalities.colour_tags import coding, png_chunks
from multigen.modalities.contact_sheet import GAP, contact_sheet, data_url, enlargement
from multigen.modalities.deep_grey import MOST, Window, checked_window, encode_grey, moved, read_grey
from multigen.modalities.heat import laid_over
from multigen.modalities.image_file import decode_image
from multigen.modalities.image_header import open_image, upright_size
from multigen.modalities.image_native import Form, encode_deep, read_form, shown, stored
from multigen.modalities.known import KNOWN
from multigen.modalities.member import Source, as_source
from multigen.modalities.raster import (
    WHITE,
    height_width,
    pil_mode,
    resize_to_cover,
    to_channels,
    to_levels,
    to_pil,
)
from multigen.storage.files import atomic

_WRITERS: dict[str, dict[str, object]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "quality": 95, "method": 4},
    ".tif": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
}

_DEEP = (".png", ".tif", ".tiff")  # of 16 bits


class Image(Modality):
    """The modality of images.

    size        natural size: a side, or (height, width), in pixels
    channels    1 grey, 3 RGB, 4 RGBA
    bits        16: grey whose files have 16 bits, read and written without loss of depth; 8: what files have, as usual
    window      with 16 bits: values from 0 to 65535 that are -1 and 1, such as [0, 4095]; null: all
    background  behind transparent pixels where `channels` has no alpha, levels 0 to 255
    max_pixels  most pixels of a file that is opened
    max_bytes   most bytes of a file that is opened
    """

    name = "image"
    axes = (HEIGHT, WIDTH)
    suffixes = (
        ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2",
        ".pcx", ".pgm", ".ppm", ".pnm", ".qoi", ".tga",
    )  # fmt: skip
    suffix = ".png"
    writes = KNOWN["image"].writes
    animation = ""

    def __init__(
        self,
        *,
        size: int | tuple[int, int] = 64,
        channels: Literal[1, 3, 4] = 3,
        bits: Literal[8, 16] = 8,
        window: tuple[float, float] | None = None,
        background: tuple[int, int, int] = WHITE,
        max_pixels: int = Limits.max_pixels,
        max_bytes: int = Limits.max_bytes,
    ) -> None:
        self.size, self.channels = height_width(size), channels
        self.window = checked_window(bits, channels, window)
        if self.window is not None:
            self.writes = tuple(_DEEP)
        if not all(0 <= level <= 255 for level in background):
            raise ValueError(
                f"background: {background!r} is not allowed. Allowed: three levels from 0 to 255."
            )
        self.background = background
        self.limits = Limits(max_bytes=max_bytes, max_pixels=max_pixels)
        self._form: Form | None = None  # of the file that this is the native modality of

    @property
    def deep(self) -> bool:
        """Whether it writes more than 8 bits: that of a file which has them."""
        return self._form is not None and self._form.deep

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, int, int]:
        """Return (C, H, W). ValueError for a duration, which an image does not have."""
        if duration is not None:
            raise ValueError(f"duration: {duration!r} is not allowed. An image has no duration; give a size.")
        return (self.channels, *(self.size if size is None else height_width(size)))

    def info(self, path: str | Source) -> Info:
        """Read width, height (after EXIF rotation) and channels from the header."""
        path = as_source(path)
        with open_image(path, self.limits) as image:
            width, height = upright_size(image)
            return Info(width=width, height=height, channels=len(image.getbands()))

    def read(self, path: str | Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """Read [C, H, W] at this modality's channels; of an animation the first frame. MediaError names the fault.

        Raises ValueError for a span (`start`, `duration`).
        """
        path = as_source(path)
        if start or duration is not None:
            raise ValueError("start, duration: an image has no span")
        with open_image(path, self.limits) as image:
            if self._form is None and self.window is not None:
                return read_grey(image, str(path), self.window)
            if self._form is not None:
                media, form = read_form(image, path)
                return media if form.channels == self.channels else to_channels(media, self.channels)
            named = coding(image)
            if (
                named is not None and not named.plain
            ):  # all bits of the file count: steps of 8 bits are coarse in HDR
                media = shown(*read_form(image, path))
            else:
                media = decode_image(image, str(path))
        return to_channels(media, self.channels, self.background)

    def native(self, source: str | Source | Tensor) -> Image:
        """The file's own size, depth, alpha and colour profile; of a medium [C, H, W] its size and channels.

        Grey becomes RGB where this modality has colours: what is made shall have them, too.
        """
        made = copy.copy(self)
        if isinstance(source, Tensor):
            made.size = (source.shape[-2], source.shape[-1])
            if self.window is not None and len(source) == 1:  # its values are this window's
                return made
            form = Form(len(source))
        else:
            path = as_source(source)
            with open_image(path, self.limits) as image:
                media, form = read_form(image, path)
            made.size = (media.shape[-2], media.shape[-1])
            if self.window is not None:  # 16 bits of which 12 are used are shares of 4095
                made.window = Window(high=MOST if form.white == 255 else form.white)
        if form.channels == 1 and self.channels > 1 and form.profile is None:
            form = dataclasses.replace(form, channels=3)
        if form.channels == 3 and self.channels == 4:
            form = dataclasses.replace(form, channels=4)
        made.channels, made._form = form.channels, form  # type: ignore[assignment]
        return made

    def convert(self, media: Tensor, to: Modality) -> Tensor:
        """[C, H, W] of this modality in the channels and the colours of `to`."""
        assert isinstance(to, Image)
        # Deep grey is data: its values are those of the file, as `read_grey` gives them to a training.
        data = self.window is not None and to.window is not None
        if self._form is not None and not (data and self.channels == 1):
            media = shown(media, self._form)
        if to._form is None or (data and to.channels == 1):
            media = to_channels(media, to.channels, self.background)
        else:
            media = stored(media, to._form)
        if self.window is None or to.window is None or self.window == to.window:
            return media
        return moved(media, self.window, to.window)

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Resize [C, H, W] until it covers `shape`, antialiased, then crop: centrally, or randomly with `rng`."""
        channels, height, width = shape
        media = to_channels(media, channels, self.background)
        return resize_to_cover(media[None], height, width, rng)[0]

    def write(self, media: Tensor, path: str | Path) -> None:
        """Write [C, H, W] as .png, .jpg or .webp, atomically. For .jpg, alpha is composited on the background.

        The native modality of a file writes that file's colour profile, and its depth and colour tags into .png. Other
        formats have no such tags: into them it writes sRGB, with a warning.

        MediaError for another suffix, or for numbers of channels that pictures do not have.
        """
        path = Path(path)
        if path.suffix.lower() not in self.writes:
            raise MediaError(message(f"{path}: the suffix", path.suffix, self.writes))
        options = dict(_WRITERS[path.suffix.lower()])
        form = self._form
        if (
            form is not None
            and form.coding is not None
            and options["format"] != "PNG"
            and self.window is None
        ):
            warnings.warn(
                f"{path}: {path.suffix} cannot name the colours of the source ({form.coding}): written in sRGB. "
                "Write .png to keep them.",
                stacklevel=2,
            )
            media, form = shown(media, form), None
        grey = self._grey_window(options["format"] == "TIFF")
        if grey is not None:
            to_levels(media, str(path))  # which warns of what is clipped
            content = encode_grey(media, ".tif" if options["format"] == "TIFF" else ".png", grey)
            with atomic(path) as temporary:
                temporary.write_bytes(content)
            return
        if form is not None and form.deep and options["format"] == "PNG":
            content = encode_deep(media.detach().float().cpu(), form)
            with atomic(path) as temporary:
                temporary.write_bytes(content)
            return
        if form is not None and form.profile is not None:
            options["icc_profile"] = form.profile
        if form is not None and form.coding is not None:
            options["pnginfo"] = tags = PngInfo()
            for name, data in png_chunks(form.coding):
                tags.add(name, data)
        if media.shape[0] == 4 and options["format"] == "JPEG":
            media = to_channels(media, 3, self.background)
        pil_mode(media.shape[0], str(path))
        levels = to_levels(media, str(path))
        with atomic(path) as temporary:
            to_pil(levels).save(temporary, **options)  # pyright: ignore[reportArgumentType]

    def _grey_window(self, tiff: bool) -> Window | None:
        """The values that are -1 and 1 in a file of deep grey that is to be written; None: it is written otherwise."""
        if self._form is None:
            return self.window
        deep = tiff and self._form.deep and self._form.channels == 1
        return Window(high=self._form.white) if deep else None

    def describe(self, shape: Sequence[int]) -> str:
        """Say the size of a shape [C, H, W]."""
        return f"{shape[2]} x {shape[1]} pixels, {pil_mode(shape[0], 'image')}"

    def preview(self, media: list[Tensor]) -> PillowImage.Image:
        """Draw a near-square grid; pictures under about 96 pixels are enlarged without smoothing."""
        levels = [to_levels(self._shown(m), "preview") for m in media]
        columns = math.ceil(math.sqrt(len(levels))) or 1
        return contact_sheet([levels[i : i + columns] for i in range(0, len(levels), columns)])

    def heat(self, media: Tensor, levels: Tensor) -> PillowImage.Image:
        """Draw the picture in grey, with heat [1, H, W] over it."""
        return laid_over(self.preview([media]), [levels.mean(0)], gap=GAP)

    def html(self, media: Tensor) -> str:
        """Return an <img> with the PNG embedded; small pictures are enlarged without smoothing."""
        levels = to_levels(self._shown(media), "html")
        file = io.BytesIO()
        to_pil(levels).save(file, format="PNG")
        height, width = levels.shape[:2]
        factor = enlargement(height, width)
        style = "image-rendering:pixelated" if factor > 1 else "max-width:100%;height:auto"
        size = f'width="{width * factor}" height="{height * factor}"'
        return f'<img src="{data_url(file.getvalue(), "image/png")}" {size} style="{style}" alt="image">'

    def _shown(self, media: Tensor) -> Tensor:
        """In sRGB, as viewers show it."""
        return media if self._form is None else shown(media, self._form)
