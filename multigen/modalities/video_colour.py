"""Colours of video frames: RGB as an ordinary screen shows them, whatever the file's matrix, range, curve and gamut.

HDR (PQ and HLG, ITU-R BT.2100) is tone-mapped as ITU-R BT.2390-11, 5.4 says, to a white of 203 cd/m2 (BT.2408), in the
gamut of BT.709. Wide gamuts are converted to BT.709. Ordinary video keeps its levels.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation, VideoReformatter

from multigen.modalities.colour_profile import srgb_encoded

WHITE = 203.0  # cd/m2, of white in SDR
PEAK = 1000.0  # cd/m2, the brightest that keeps its order; brighter is white
_UNKNOWN_MATRIX = (2, 3)  # unspecified, reserved (ITU-T H.273)
_BT2020_CL = 10
_TO_709 = {
    ColorPrimaries.BT2020: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    ColorPrimaries.SMPTE431: ((1.2249, -0.2249, 0.0), (-0.0421, 1.0421, 0.0), (-0.0196, -0.0786, 1.0983)),
    ColorPrimaries.SMPTE432: ((1.2249, -0.2249, 0.0), (-0.0421, 1.0421, 0.0), (-0.0196, -0.0786, 1.0983)),
}  # fmt: skip
_LUMA_2020 = (0.2627, 0.6780, 0.0593)
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


def rgb_levels(frame: VideoFrame, reformatter: VideoReformatter, width: int, height: int) -> np.ndarray:
    """Return a frame as uint8 [height, width, 3], resized to that size.

    What the file does not say: the matrix is BT.709 for HD (1280 wide or more than 576 high), or else BT.601; the range
    is limited.
    """
    wide = frame.color_trc in _HDR or frame.color_primaries in _TO_709
    pixels = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb48le" if wide else "rgb24",
        src_colorspace=_matrix(frame),
        interpolation=Interpolation.BICUBIC if (width, height) != (frame.width, frame.height) else None,
    ).to_ndarray()
    return _narrowed(pixels, frame.color_trc, frame.color_primaries) if wide else pixels


def _matrix(frame: VideoFrame) -> Colorspace | None:
    """The matrix of a frame whose own cannot be used; None: as tagged."""
    if frame.format.is_rgb or frame.colorspace not in (*_UNKNOWN_MATRIX, _BT2020_CL):
        return None
    if frame.colorspace == _BT2020_CL or frame.color_primaries == ColorPrimaries.BT2020:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601


def _narrowed(codes: np.ndarray, trc: int, primaries: int) -> np.ndarray:
    """Codes of RGB, uint16 [H, W, 3] -> uint8 [H, W, 3] in sRGB."""
    light = _linear(trc)[codes]
    if trc == ColorTrc.ARIB_STD_B67:  # the system's gamma, of a screen of 1,000 cd/m2
        light *= (light @ np.array(_LUMA_2020, np.float32))[..., None] ** 0.2 * (PEAK / WHITE)
    matrix = _TO_709.get(ColorPrimaries(primaries)) if primaries in _TO_709 else None
    if matrix is None and trc in _HDR:
        matrix = _TO_709[ColorPrimaries.BT2020]
    if matrix is not None:
        light = np.maximum(light @ np.array(matrix, np.float32).T, 0)
    if trc in _HDR:
        most, ratio = _tone_curve()
        light *= np.interp(light.max(-1, keepdims=True), most, ratio).astype(np.float32)
    return _encoded()[np.round(np.clip(light, 0, 1) * 65535).astype(np.uint16)]


@cache
def _linear(trc: int) -> np.ndarray:
    """Linear light of each of 65,536 codes, float32: 1 is white; for HLG, light of the scene in 0 to 1."""
    code = np.arange(65536) / 65535
    if trc == ColorTrc.SMPTE2084:
        light = _pq_light(code) / WHITE
    elif trc == ColorTrc.ARIB_STD_B67:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    else:  # ordinary video is shown as sRGB is
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


@cache
def _encoded() -> np.ndarray:
    """SRGB levels of 65,536 steps of linear light, uint8."""
    return np.round(srgb_encoded(np.arange(65536) / 65535) * 255).astype(np.uint8)


@cache
def _tone_curve() -> tuple[np.ndarray, np.ndarray]:
    """The largest of a pixel's three lights (1 is `WHITE`), and what they are multiplied by, so that hues stay."""
    most = _pq_light(np.linspace(0.01, 1, 4096)) / WHITE
    top = _pq_code(np.array(PEAK))
    source, white = np.minimum(_pq_code(most * WHITE) / top, 1), _pq_code(np.array(WHITE)) / top
    knee = 1.5 * white - 0.5
    t = (source - knee) / (1 - knee)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    )
    mapped = _pq_light(np.where(source < knee, source, bent) * top) / WHITE
    return most, mapped / most


_M1, _M2, _C1, _C2, _C3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875  # SMPTE ST 2084


def _pq_light(code: np.ndarray) -> np.ndarray:
    """PQ codes in 0 to 1 -> cd/m2."""
    root = code ** (1 / _M2)
    return 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_code(light: np.ndarray) -> np.ndarray:
    """Light in cd/m2 -> PQ codes in 0 to 1."""
    power = (light / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
