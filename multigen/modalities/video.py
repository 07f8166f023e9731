"""Video: whatever FFmpeg or Pillow reads, at one frame rate, as [C, T, H, W] in [-1, 1]."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image as PillowImage
from torch import Tensor

from multigen.errors import MediaError, message
from multigen.modalities import Info, Limits, Modality, frames
from multigen.modalities.member import Source, located
from multigen.modalities.raster import (
    cover,
    data_url,
    enlargement,
    from_levels,
    pair,
    picture,
    sheet,
    to_channels,
    to_levels,
)
from multigen.storage.files import atomic

_ENCODED = (".mp4", ".mov", ".mkv")
_ANIMATED = (".gif", ".webp", ".png", ".apng")
_COLUMNS = 16  # frames of each video in a contact sheet at most


class Video(Modality):
    """Modality "video": `frames` frames of `size` (side or (height, width), pixels) at `fps` frames/s.

    Limits: `max_bytes` of the file, `max_pixels` of one frame, `max_frames` and `max_seconds` of the file,
    and `max_clip_pixels` of all frames that one `read` returns (300 million are 3.6 GB), or that an animation
    (.gif, .webp, .apng) has, as it is always decoded from its start.
    """

    name = "video"
    suffixes = (
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".ts",
        ".mts", ".3gp", ".gif", ".webp", ".apng",
    )  # fmt: skip
    suffix = ".mp4"
    writes = _ENCODED + _ANIMATED
    animation = ".webp"

    def __init__(
        self,
        *,
        size: int | tuple[int, int] = 32,
        frames: int = 16,
        fps: float = 8.0,
        channels: Literal[1, 3] = 3,
        max_pixels: int = Limits.max_pixels,
        max_bytes: int = Limits.max_bytes,
        max_seconds: float = Limits.max_seconds,
        max_frames: int = Limits.max_frames,
        max_clip_pixels: int = Limits.max_clip_pixels,
    ) -> None:
        if frames < 1:
            raise ValueError(f"frames: {frames!r} is not allowed. Allowed: 1 or more.")
        if not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"fps: {fps!r} is not allowed. Allowed: more than 0 frames/s.")
        self.size, self.frames, self.fps, self.channels = pair(size), frames, float(fps), channels
        self.limits = Limits(max_bytes, max_pixels, max_seconds, max_frames, max_clip_pixels)

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, int, int, int]:
        """(C, T, H, W); `duration` in s, rounded to whole frames. ValueError if it is not above 0."""
        count = self.frames if duration is None else self._count(duration)
        return (self.channels, count, *(self.size if size is None else pair(size)))

    def _count(self, duration: float) -> int:
        if not (duration > 0 and math.isfinite(duration)):
            raise ValueError(f"duration: {duration!r} is not allowed. Allowed: more than 0 s.")
        return max(1, round(duration * self.fps))

    def info(self, path: str | Source) -> Info:
        """Duration (s), size as stored, fps and frame count of the file itself, from its header."""
        path = located(path)
        return frames.header(path, self.limits)

    def read(self, path: str | Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """[C, T, H, W] at this modality's rate: the frame that is shown at each `start + k / fps`.

        Variable frame rates come out right; rotation is applied. Shorter than `duration` where the file ends.
        MediaError names the fault, a limit among them.
        """
        path = located(path)
        if start < 0:
            raise ValueError(f"start: {start!r} is not allowed. Allowed: 0 s or more.")
        info = self.info(path)
        count = None if duration is None else self._count(duration)
        whole = max(0.0, info.duration - start) * self.fps
        expected = whole if count is None else min(count, whole)
        frames.check_clip(path, expected, info.width * info.height, self.limits)
        levels: list[np.ndarray] = []
        last: frames.Frame | None = None
        source = frames.frames(path, self.limits, start)
        for frame in frames.steady(source, self.fps, start, count, 1 / (info.fps or self.fps)):
            levels.append(levels[-1] if frame is last else frame.levels())
            last = frame
            frames.check_clip(path, len(levels), levels[-1].shape[0] * levels[-1].shape[1], self.limits)
        if not levels:
            raise MediaError(f"{path}: no frame at {start:g} s; the video ends at {info.duration:g} s")
        return to_channels(from_levels(np.stack(levels)), self.channels)

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """[C, T, H, W] -> `shape`: frames from the start (from a place drawn from `rng`), then an antialiased
        resize and a crop, the same for every frame. Where there are too few, the last one is repeated."""
        channels, count, height, width = shape
        free = media.shape[1] - count
        first = int(torch.randint(free + 1, (), generator=rng)) if rng is not None and free > 0 else 0
        media = to_channels(media[:, first : first + count], channels)
        fitted = cover(media.transpose(0, 1), height, width, rng).transpose(0, 1)
        if free < 0:
            fitted = torch.cat([fitted, fitted[:, -1:].expand(-1, -free, -1, -1)], 1)
        return fitted.contiguous()

    def write(self, media: Tensor, path: str | Path) -> None:
        """[C, T, H, W] to H.264 (.mp4, .mov, .mkv) or an animation (.gif, .webp, .png), atomically, at `fps`.

        H.264 keeps half the colour resolution (yuv420p plays everywhere) and wants even sizes: odd ones are
        padded with their edge, and `read` crops them again.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in self.writes:
            raise MediaError(message(f"{path}: the suffix", path.suffix, self.writes))
        levels = to_levels(to_channels(media, 3), str(path))
        with atomic(path) as temporary:
            if suffix in _ENCODED:
                _encode(levels, str(temporary), suffix, self.fps)
            else:
                _save_animation([picture(frame) for frame in levels], temporary, self.fps)

    def preview(self, media: list[Tensor]) -> PillowImage.Image:
        """A contact sheet: a row for each video, its frames (16 at most, evenly spaced) as columns."""
        rows = []
        for one in media:
            count = min(_COLUMNS, one.shape[1])
            chosen = torch.linspace(0, one.shape[1] - 1, count).round().long()
            rows.append(list(to_levels(one[:, chosen], "preview")))
        return sheet(rows)

    def html(self, media: Tensor) -> str:
        """A <video> player with the MP4 embedded, looping; small ones are enlarged with hard pixels."""
        levels = to_levels(to_channels(media, 3), "html")
        file = io.BytesIO()
        _encode(levels, file, ".mp4", self.fps)
        height, width = levels.shape[1:3]
        factor = enlargement(height, width) * (2 if max(height, width) <= 48 else 1)
        style = "image-rendering:pixelated" if factor > 1 else "max-width:100%;height:auto"
        size = f'width="{width * factor}" height="{height * factor}" style="{style}"'
        source = data_url(file.getvalue(), "video/mp4")
        return f'<video controls loop autoplay muted playsinline {size} src="{source}"></video>'


def _encode(levels: np.ndarray, file: str | io.BytesIO, suffix: str, fps: float) -> None:
    """uint8 [T, H, W, 3] -> H.264, yuv420p, BT.709, near-transparent quality."""
    height, width = levels.shape[1:3]
    odd = (height % 2, width % 2)
    if any(odd):
        levels = np.pad(levels, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
    rate = Fraction(fps).limit_denominator(1001)
    name = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}[suffix]
    options = {} if name == "matroska" else {"movflags": "+faststart"} if isinstance(file, str) else {}
    with av.open(file, "w", format=name, options=options) as out:
        if any(odd):
            out.metadata["comment"] = frames.size_tag(height, width)
        # x264's macroblock tree reads memory that it never set where pictures are small: the bytes would vary.
        settings = {"crf": "12", "preset": "medium", "x264-params": "mbtree=0"}
        stream = out.add_stream("libx264", rate=rate, options=settings)
        stream.width, stream.height, stream.pix_fmt = levels.shape[2], levels.shape[1], "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for k, one in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(one, format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base, frame.duration = k, 1 / rate, 1
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _save_animation(pictures: Sequence[PillowImage.Image], path: Path, fps: float) -> None:
    """Frames as an endless animation. Durations are rounded cumulatively: the total stays right."""
    unit = 10 if path.suffix.lower() == ".gif" else 1  # ms; GIF counts hundredths of a second
    ends = [round(k * 1000 / fps / unit) * unit for k in range(len(pictures) + 1)]
    durations = [max(unit, b - a) for a, b in pairwise(ends)]
    small = pictures[0].width * pictures[0].height <= 512 * 512
    kind = {".gif": "GIF", ".webp": "WEBP"}.get(path.suffix.lower(), "PNG")
    options = {"lossless": small, "quality": 90, "method": 4} if kind == "WEBP" else {}
    rest = list(pictures[1:])
    pictures[0].save(
        path, format=kind, save_all=True, append_images=rest, duration=durations, loop=0, **options
    )
