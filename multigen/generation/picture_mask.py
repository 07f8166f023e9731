"""Picture masks: which part of a picture says what is made anew.

Three conventions are in use, and the file tells which:

    no transparency                              white is new, black is kept
    opaque pixels of one colour (a brush)        what is opaque is new
    opaque pixels that are a picture (an eraser) what is transparent is new, as OpenAI's image API has it
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.request import BLACK, OPAQUE, TRANSPARENT, WHITE
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image
from multigen.modalities.raster import to_channels

log = logging.getLogger(__name__)

_OPAQUE = 250 / 255  # alpha of pixels that are no soft edge
_ONE_COLOUR = 0.1  # of [-1, 1]: how far pixels of one colour are apart (12 levels)
_SAME = 0.06  # mean distance from the medium of the opaque pixels of its erased copy (8 levels: JPEG between them)
_MANY = 9  # colours, of 512, of what is no drawing of a mask


def picture_mask(path: Path, medium: Tensor, meaning: str | None = None) -> Tensor:
    """What a picture keeps of a medium [C, *D] in sRGB: bool [*D].

    meaning  what of it is made anew: white, black, opaque or transparent; None: as the file's kind has it

    MultigenError for a mask with transparency that is neither a brush nor an eraser.
    """
    _check_medium(medium)
    return mask_in(guarded(path, Image(channels=4).read, path), medium, meaning, f"mask {path}")


def mask_in(picture: Tensor, medium: Tensor, meaning: str | None = None, where: str = "mask") -> Tensor:
    """As `picture_mask`, of a picture [4, H, W] that has been read. `where`: how messages call it."""
    _check_medium(medium)
    sides = (int(medium.shape[-2]), int(medium.shape[-1]))
    if tuple(picture.shape[1:]) != sides:
        had = f"{picture.shape[2]} x {picture.shape[1]}"
        log.info("%s: %s pixels, resized to the medium's %d x %d", where, had, *reversed(sides))
    if meaning is None:
        meaning = _meaning(where, picture, medium)
    light = to_channels(picture[:3], 1) if meaning in (WHITE, BLACK) else picture[3:]
    if tuple(light.shape[1:]) != sides:
        light = F.interpolate(light[None], size=sides, mode="bilinear", antialias=True, align_corners=False)[
            0
        ]
    keep = light[0] < 0 if meaning in (WHITE, OPAQUE) else light[0] >= 0
    return keep.expand(medium.shape[1:])


def _check_medium(medium: Tensor) -> None:
    if medium.ndim == 2:
        raise MultigenError("mask: a picture is no mask for a sound; give spans of time: keep 0:2.5s")


def _meaning(where: str, picture: Tensor, medium: Tensor) -> str:
    """What is made anew, by what the file holds."""
    alpha = (picture[3] + 1) / 2
    if bool((alpha >= _OPAQUE).all()):
        return WHITE
    opaque = alpha >= _OPAQUE
    if not bool(opaque.any()):
        raise MultigenError(
            f"{where}: nothing in it is opaque; draw on it, or say what is made anew: mask_is=transparent "
            "(--mask-is)"
        )
    colours = picture[:3, opaque]
    one = bool((colours.amax(1) - colours.amin(1) <= _ONE_COLOUR).all())
    copy = _is_copy(picture, opaque, medium)
    if one and not copy:
        log.info("%s: a brush on a transparent layer; what is opaque is made anew (--mask-is)", where)
        return OPAQUE
    if not one and (copy or _colours(colours) >= _MANY):
        log.info("%s: a picture with parts erased; what is transparent is made anew (--mask-is)", where)
        return TRANSPARENT
    raise MultigenError(
        f"{where}: it may be a brush or an eraser; say what of it is made anew: mask_is=opaque or transparent, "
        "white or black (--mask-is)"
    )


def _is_copy(picture: Tensor, opaque: Tensor, medium: Tensor) -> bool:
    """Whether the opaque pixels of a mask are those of the medium, the first frame of a video."""
    still = medium if medium.ndim == 3 else medium[:, 0]
    if still.shape[0] not in (1, 3, 4):
        return False
    still = to_channels(still.float(), 3)[None]
    sides = list(picture.shape[-2:])
    if list(still.shape[-2:]) != sides:
        still = F.interpolate(still, size=sides, mode="bilinear", antialias=True, align_corners=False)
    return float((still[0] - picture[:3])[:, opaque].abs().mean()) <= _SAME


def _colours(values: Tensor) -> int:
    """How many colours, of 8 levels a channel, [3, N] in [-1, 1] hold."""
    coarse = ((values + 1) * 4).floor().clamp(0, 7).long()
    return int(torch.unique(coarse[0] * 64 + coarse[1] * 8 + coarse[2]).numel())
