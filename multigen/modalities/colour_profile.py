"""Colour profiles (ICC) and tags of picture files: pictures are read as sRGB, as every viewer shows them.

`to_srgb` is what reading does. `from_srgb` is the way back, for pictures that are put into a file with its own profile.
"""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from multigen.modalities.coded_colour import Coding, decoded, srgb_encoded
from multigen.modalities.colour_tags import coding, with_coding

# Colour spaces in an ICC header, and Pillow's modes of their pixels.
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}
# Adobe RGB (1998): to linear sRGB from linear values, and its gamma. Both white points are D65.
_ADOBE = np.array([[1.398355, -0.398355, 0.0], [0.0, 1.0, 0.0], [0.0, -0.042929, 1.042929]])
_ADOBE_GAMMA = 563 / 256
_INTEROP, _INDEX = 0xA005, 1


def to_srgb(image: PillowImage.Image, name: str) -> PillowImage.Image:
    """Return an 8-bit picture, in its own mode or in RGB, RGBA, L or LA, with its colours in sRGB.

    What its file names (`colour_tags`) comes first. A picture without that and without a profile is sRGB, but Adobe RGB
    where its EXIF data say so (as cameras do, DCF 2.0). A profile that is damaged, or of another kind of picture, is
    ignored with a warning. `name`: the file's, for messages.
    """
    named, data = coding(image), image.info.get("icc_profile")
    if named is not None:
        return image if named.plain else _decoded(image, named)
    if not data:
        return _adobe_to_srgb(image) if _says_adobe(image) else image
    try:
        return _converted(image, data)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        warnings.warn(f"{name}: its colour profile is ignored: {_first_line(error)}", stacklevel=2)
        return image


def grey_curve(image: PillowImage.Image, name: str) -> np.ndarray | None:
    """Return what each of 256 levels of a grey picture becomes in sRGB, float64 [256] in 0 to 1; None: as it is."""
    ramp = with_coding(PillowImage.fromarray(np.arange(256, dtype=np.uint8)[None]), image)
    turned = to_srgb(ramp, name)
    return None if turned is ramp else np.asarray(turned.convert("L"))[0] / 255.0


def from_srgb(image: PillowImage.Image, profile: bytes | None, mode: str) -> PillowImage.Image:
    """Return an sRGB picture (RGB) in another profile's colours and mode (RGB, L or CMYK). ValueError: they disagree.

    profile  ICC data, such as `info["icc_profile"]` of the file that it goes into; None: sRGB
    """
    if not profile:
        return image.convert(mode)
    try:
        target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _space(profile) != mode:
            raise ValueError(f"a profile for {_space(profile)}, a picture of {mode}")
        transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), target, "RGB", mode)
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(_first_line(error)) from error


def _space(profile: bytes) -> str:
    """Pillow's mode of a profile's colour space. ValueError for one that pictures do not have."""
    if (name := profile[16:20]) not in _SPACES:
        raise ValueError(f"its colour space {name.decode('latin1')!r} is not one of pictures")
    return _SPACES[name]


def _converted(image: PillowImage.Image, data: bytes) -> PillowImage.Image:
    """The picture in sRGB: grey stays grey. ValueError for a profile of another kind of picture."""
    profile, space = ImageCms.ImageCmsProfile(io.BytesIO(data)), _space(data)
    colours, alpha = _split(image)
    if space == "RGB" and colours.mode == "L":  # as raw converters save grey pictures
        colours = colours.convert("RGB")
    if space != colours.mode:
        raise ValueError(f"it is for {space}, the picture is {colours.mode}")
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), space, "RGB")
    if space == "RGB" and _changes_nothing(transform):
        return image
    made = ImageCms.applyTransform(colours, transform) or colours
    if image.mode in ("1", "L", "LA"):
        made = made.convert("L")
    if alpha is not None:
        made.putalpha(alpha)
    return made


def _decoded(image: PillowImage.Image, named: Coding) -> PillowImage.Image:
    """The picture in sRGB: grey stays grey."""
    colours, alpha = _split(image)
    made = PillowImage.fromarray(decoded(np.asarray(colours.convert("RGB"), np.float32) / 255, named))
    if colours.mode == "L":
        made = made.convert("L")
    if alpha is not None:
        made.putalpha(alpha)
    return made


def _split(image: PillowImage.Image) -> tuple[PillowImage.Image, PillowImage.Image | None]:
    """Colours (RGB, L, CMYK or LAB) and alpha."""
    alpha = None
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
    if image.mode in ("CMYK", "LAB"):
        return image, alpha
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"), alpha


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform of RGB moves no level by more than rounding does, as that of sRGB itself."""
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(64, 64, 3)
    turned = ImageCms.applyTransform(PillowImage.fromarray(cube), transform)
    return turned is not None and int(np.abs(np.asarray(turned).astype(int) - cube).max()) <= 1


def _says_adobe(image: PillowImage.Image) -> bool:
    """Whether EXIF data say Adobe RGB: index R03, which cameras write in place of a profile."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    try:
        return str(image.getexif().get_ifd(_INTEROP).get(_INDEX, "")).startswith("R03")
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):  # damaged EXIF data
        return False


def _adobe_to_srgb(image: PillowImage.Image) -> PillowImage.Image:
    levels = np.asarray(image.convert("RGB"))
    curve = (np.arange(256) / 255) ** _ADOBE_GAMMA
    linear = np.clip(curve[levels].astype(np.float32) @ _ADOBE.T.astype(np.float32), 0, 1)
    made = PillowImage.fromarray(np.round(srgb_encoded(linear) * 255).astype(np.uint8))
    if image.mode == "RGBA":
        made.putalpha(image.getchannel("A"))
    return made


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
