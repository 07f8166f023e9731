"""Frames of an animated picture, read with Pillow: it handles disposal, transparency, frame durations and WebP."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from multigen.errors import MediaError
from multigen.modalities import Info, Limits
from multigen.modalities.colour_profile import to_srgb
from multigen.modalities.file_check import check_clip, check_count, check_duration, check_frame
from multigen.modalities.frame import DEFAULT_DURATION, Frame
from multigen.modalities.image_header import open_image, upright_size
from multigen.modalities.member import Source


def animation_header(path: Source, limits: Limits) -> Info:
    """Read size, duration and number of frames, which decodes every frame. MediaError if it is over a limit."""
    durations, width, height = [], 0, 0
    for file, duration in _shown(path, limits):
        durations.append(duration)
        width, height = upright_size(file)
    total, count = sum(durations), len(durations)
    check_duration(path, total, limits)
    return Info(duration=total, width=width, height=height, channels=3, fps=count / total, frames=count)


def animation_gaps(path: Source, limits: Limits) -> tuple[list[float], float]:
    """How long each frame is shown, and to what the format rounds that, s."""
    shown = [(duration, file.format) for file, duration in _shown(path, limits)]
    return [duration for duration, _ in shown], 1e-2 if shown[0][1] == "GIF" else 1e-3


def _shown(path: Source, limits: Limits) -> Iterator[tuple[PillowImage.Image, float]]:
    """Yield an animation at each of its frames, decoded, and how long (s) the frame is shown.

    Pillow knows durations only while it decodes, and a few bytes can hold many frames, so their pixels are counted
    first.
    """
    with open_image(path, limits) as file:
        count, pixels = getattr(file, "n_frames", 1), 0  # still formats of Pillow lack the attribute
        check_count(path, count, limits)
        check_clip(path, count, file.width * file.height, limits)
        for index in range(count):
            file.seek(index)
            # A frame of a GIF may be larger than its header says.
            check_frame(path, *file.size, limits)
            pixels += file.width * file.height
            check_clip(path, index + 1, pixels / (index + 1), limits)
            file.load()
            yield file, float(file.info.get("duration", 0) or 0) / 1000 or DEFAULT_DURATION


def animation_frames(path: Source, limits: Limits) -> Iterator[Frame]:
    """Yield all frames. MediaError names the fault."""
    time, shape = 0.0, None
    for file, duration in _shown(path, limits):
        levels = np.asarray(to_srgb(ImageOps.exif_transpose(file), str(path)).convert("RGBA"))
        shape = shape or levels.shape
        if levels.shape != shape:  # a damaged GIF
            sizes = [f"{width} x {height}" for height, width, _ in (shape, levels.shape)]
            raise MediaError(f"{path}: its frames have different sizes, {sizes[0]} and {sizes[1]} pixels")
        # Animations keep whole milliseconds (GIF: hundredths of a second).
        tolerance = 0.5e-2 if file.format == "GIF" else 0.5e-3
        yield Frame(time, duration, lambda levels=levels: levels, tolerance)
        time += duration
