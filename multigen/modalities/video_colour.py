"""Colours of video frames: RGB as an ordinary screen shows them, whatever the file's matrix, range, curve and gamut.

HDR is tone-mapped and wide gamuts are converted to BT.709 (`coded_colour`). Ordinary video keeps its levels.
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, Interpolation, VideoReformatter

from multigen.modalities.coded_colour import Coding, narrowed

_UNKNOWN_MATRIX = (2, 3)  # unspecified, reserved (ITU-T H.273)
_BT2020_CL = 10
_WIDE = (ColorPrimaries.BT2020, ColorPrimaries.SMPTE431, ColorPrimaries.SMPTE432)


def rgb_levels(frame: VideoFrame, reformatter: VideoReformatter, width: int, height: int) -> np.ndarray:
    """Return a frame as uint8 [height, width, 3], resized to that size.

    What the file does not say: the matrix is BT.709 for HD (1280 wide or more than 576 high), or else BT.601; the range
    is limited.
    """
    coding = Coding(int(frame.color_primaries), int(frame.color_trc))
    wide = coding.hdr or coding.primaries in _WIDE
    pixels = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb48le" if wide else "rgb24",
        src_colorspace=_matrix(frame),
        interpolation=Interpolation.BICUBIC if (width, height) != (frame.width, frame.height) else None,
    ).to_ndarray()
    return narrowed(pixels, coding) if wide else pixels


def _matrix(frame: VideoFrame) -> Colorspace | None:
    """The matrix of a frame whose own cannot be used; None: as tagged."""
    if frame.format.is_rgb or frame.colorspace not in (*_UNKNOWN_MATRIX, _BT2020_CL):
        return None
    if frame.colorspace == _BT2020_CL or frame.color_primaries == ColorPrimaries.BT2020:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
