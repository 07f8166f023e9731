"""A frame of a video: when it is shown, and how to get its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIZE_TAG = "multigen size "  # begins the comment that gives the size of a video before it was padded
DEFAULT_DURATION = 0.1  # s; what browsers take for animation frames of 0 s


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    time       when it is shown, s from the start of the stream
    duration   for how long, s; 0 if unknown
    levels     returns its pixels, uint8 [H, W, 3] or [H, W, 4]
    tolerance  how far rounding may have moved `time`, s
    """

    time: float
    duration: float
    levels: Callable[[], np.ndarray]
    tolerance: float = 1e-6


def size_tag(height: int, width: int) -> str:
    """Return the comment that `Video.write` leaves where it padded odd sizes."""
    return f"{SIZE_TAG}{width}x{height}"
