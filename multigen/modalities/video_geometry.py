"""How the stored pixels of a video are shown: turned or mirrored by its display matrix, and not square."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_MOST = 8  # pixels are at most so much wider than high; files that say more are damaged


def shown_size(stream: VideoStream, width: int = 0, height: int = 0) -> tuple[int, int]:
    """Return (width, height) in square pixels of a stream, or of its frame of the size given. Turns are not applied.

    One side is enlarged, so that no pixel is lost.
    """
    width, height = width or stream.codec_context.width, height or stream.codec_context.height
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    if not 1 / _MOST <= ratio <= _MOST:
        return width, height
    return (round(width * ratio), height) if ratio >= 1 else (width, round(height / ratio))


def upright(levels: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Turn and mirror [H, W, C] as the frame's display matrix says (ISO/IEC 14496-12), to whole quarters."""
    if "DISPLAYMATRIX" not in frame.side_data:
        return levels
    data = bytes(frame.side_data["DISPLAYMATRIX"])
    (a, b, _), (c, d, _) = np.frombuffer(data, np.int32).reshape(3, 3)[:2].astype(np.int64)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        mirror, turn_over = a < 0, d < 0
    else:
        levels, mirror, turn_over = levels.swapaxes(0, 1), c < 0, b < 0
    return np.ascontiguousarray(levels[:: -1 if turn_over else 1, :: -1 if mirror else 1])
