"""Checks of media files against limits, before and while they are decoded. They need neither PyAV nor Pillow."""

from __future__ import annotations

from pathlib import Path

from multigen.errors import MediaError
from multigen.modalities import Limits
from multigen.modalities.member import Source, size_of


def check_file(path: Source, limits: Limits) -> None:
    """Raise MediaError if the file is missing, not a file, empty or over the byte limit."""
    if isinstance(path, Path) and not path.is_file():
        raise MediaError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    size = size_of(path)
    if size == 0:
        raise MediaError(f"{path}: the file is empty")
    if size > limits.max_bytes:
        raise MediaError(f"{path}: {size:,} bytes; the limit max_bytes is {limits.max_bytes:,}")


def check_frame(path: Source, width: int, height: int, limits: Limits) -> None:
    """Raise MediaError for a frame of more than `max_pixels`."""
    if width * height > limits.max_pixels:
        raise MediaError(
            f"{path}: {width} x {height} pixels a frame; the limit max_pixels is {limits.max_pixels:,}"
        )


def check_count(path: Source, frames: int, limits: Limits) -> None:
    """Raise MediaError for more than `max_frames`."""
    if frames > limits.max_frames:
        raise MediaError(f"{path}: {frames:,} frames; the limit max_frames is {limits.max_frames:,}")


def check_duration(path: Source, seconds: float, limits: Limits) -> None:
    """Raise MediaError for a video longer than `max_seconds`."""
    if seconds > limits.max_seconds:
        raise MediaError(f"{path}: {seconds:.0f} s; the limit max_seconds is {limits.max_seconds:g}")


def check_clip(path: Source, count: float, pixels: float, limits: Limits) -> None:
    """Raise MediaError if `count` frames of `pixels` each, to be decoded together, are over `max_clip_pixels`."""
    if count * pixels > limits.max_clip_pixels:
        size = f"{count:,.0f} frames of {pixels:,.0f} pixels"
        raise MediaError(f"{path}: {size}; the limit max_clip_pixels is {limits.max_clip_pixels:,}")
