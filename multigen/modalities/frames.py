"""Frames of a file with the times at which they are shown, and the frames that a steady rate would show."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import av
import numpy as np
import torch
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image as PillowImage

from multigen.errors import MediaError
from multigen.modalities import Info, Limits, container, image
from multigen.modalities.member import Source

# Pillow reads animations with their disposal, transparency and frame durations; FFmpeg lacks animated WebP.
PICTURES = (".gif", ".webp", ".png", ".apng")
_SIZE_TAG = "multigen size "
_SHARED = 400_000  # pixels: threads hand smaller frames to one another for longer than they decode them
_DEFAULT_DURATION = 0.1  # s: what browsers take for animation frames of 0 s


@dataclass(frozen=True)
class Frame:
    """A frame shown from `time` (s, from the start of the stream) for `duration` (s, 0 if unknown)."""

    time: float
    duration: float
    levels: Callable[[], np.ndarray]  # -> uint8 [H, W, 3] or [H, W, 4]
    tolerance: float = 1e-6  # s by which rounding may have moved `time`


def size_tag(height: int, width: int) -> str:
    """The comment that `Video.write` leaves where it padded odd sizes."""
    return f"{_SIZE_TAG}{width}x{height}"


def header(path: Source, limits: Limits) -> Info:
    """What the header says. MediaError if the file has no video or is over a limit; no video is decoded."""
    if path.suffix.lower() in PICTURES:
        return _picture_header(path, limits)
    with container.opened(path, limits) as file:
        return _stream_header(path, file, _stream(path, file), limits)


def frames(path: Source, limits: Limits, start: float = 0.0) -> Iterator[Frame]:
    """Frames in the order of their times, from the one shown at `start` (s) or an earlier one on."""
    if path.suffix.lower() in PICTURES:
        yield from _picture_frames(path, limits)
        return
    if start > 0:
        seeking = _stream_frames(path, limits, start)
        first = next(seeking, None)
        if first is not None and first.time <= start + first.tolerance:
            yield first
            yield from seeking
            return
        seeking.close()  # some containers land too late: read from the beginning instead
    yield from _stream_frames(path, limits, 0.0)


def steady(
    shown: Iterator[Frame], fps: float, start: float, count: int | None, gap: float
) -> Iterator[Frame]:
    """The frame shown at each `start + k / fps`; all until the end, or at most `count`.

    `gap` (s) is how long the last frame lasts where the file does not say.
    """
    k, frame, previous = 0, None, None
    for new in shown:
        while frame is not None and k != count and start + k / fps < new.time - new.tolerance:
            yield frame
            k += 1
        if k == count:
            return
        previous, frame = frame, new
    if frame is None:
        return
    last = frame.duration or (frame.time - previous.time if previous else 0.0) or gap
    end = frame.time + last
    total = max(1, round((end - start) * fps)) if start < end else 0
    for _ in range(k, total if count is None else min(count, total)):
        yield frame


def _stream(path: Source, file: InputContainer) -> VideoStream:
    """The first video stream that is not a cover picture."""
    for stream in file.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise MediaError(f"{path}: there is no video in it")


def _check_size(path: Source, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise MediaError(
            f"{path}: {width} x {height} pixels a frame; the limit max_pixels is {limits.max_pixels:,}"
        )


def check_clip(path: Source, count: float, pixels: float, limits: Limits) -> None:
    """MediaError if `count` frames of `pixels` each, which are to be decoded, are over `max_clip_pixels`."""
    if count * pixels > limits.max_clip_pixels:
        size = f"{count:,.0f} frames of {pixels:,.0f} pixels"
        limit = f"the limit max_clip_pixels is {limits.max_clip_pixels:,}"
        raise MediaError(f"{path}: {size}; {limit}")


def _stream_header(path: Source, file: InputContainer, stream: VideoStream, limits: Limits) -> Info:
    width, height = _true_size(file) or (stream.codec_context.width, stream.codec_context.height)
    _check_size(path, stream.codec_context.width, stream.codec_context.height, limits)
    duration = _stream_duration(stream) or (file.duration or 0) / av.time_base
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    count = stream.frames or round(duration * fps)
    if duration > limits.max_seconds:
        raise MediaError(f"{path}: {duration:.0f} s; the limit max_seconds is {limits.max_seconds:g}")
    if count > limits.max_frames:
        raise MediaError(f"{path}: {count:,} frames; the limit max_frames is {limits.max_frames:,}")
    return Info(duration=duration, width=width, height=height, channels=3, fps=fps, frames=count)


def _stream_duration(stream: VideoStream) -> float:
    """s, of the video alone; 0 if the container does not say."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
    if match is None:
        return 0.0
    hours, minutes, seconds = map(float, match.groups())
    end = hours * 3600 + minutes * 60 + seconds
    return max(0.0, end - float((stream.start_time or 0) * (stream.time_base or 0)))


def _true_size(file: InputContainer) -> tuple[int, int] | None:
    """(width, height) from `size_tag`."""
    comment = file.metadata.get("comment", "")
    width, _, height = comment.removeprefix(_SIZE_TAG).partition("x")
    if comment.startswith(_SIZE_TAG) and width.isdecimal() and height.isdecimal():
        return int(width), int(height)
    return None


def _stream_frames(path: Source, limits: Limits, start: float) -> Generator[Frame]:
    with container.opened(path, limits) as file:
        stream = _stream(path, file)
        info = _stream_header(path, file, stream, limits)
        # Whole frames at once, as most files have no slices; loader workers have one thread each and say so to torch.
        threads = torch.get_num_threads() if info.width * info.height >= _SHARED else 1
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        tick = float(stream.time_base or 0) or 1e-3
        origin = (stream.start_time or 0) * tick
        if start > 0:
            file.seek(int((start + origin) / tick), stream=stream, backward=True)
        crop, size, time = _true_size(file), None, -1.0
        reformatter = VideoReformatter()  # one for all frames: setting it up takes long
        step = 1 / info.fps if info.fps else _DEFAULT_DURATION
        for count, frame in enumerate(file.decode(stream)):
            if count >= limits.max_frames:
                raise MediaError(f"{path}: the limit max_frames is {limits.max_frames:,}")
            _check_size(path, frame.width, frame.height, limits)
            size = size or (frame.width, frame.height)
            if frame.pts is not None:
                time = max(time, frame.pts * tick - origin)
            else:  # raw streams carry no times; after a seek the place is then unknown
                time = time + step if time >= 0 else (float("inf") if start > 0 else 0.0)
            # Containers round times to their tick (1 ms in Matroska); coarser ticks than that are exact.
            tolerance = min(tick / 2, 1e-3) + 1e-6
            yield Frame(
                time, (frame.duration or 0) * tick, _levels(frame, reformatter, size, crop), tolerance
            )
        # FFmpeg reports a cut file mostly as an error; a cut between packets shows only here.
        promised = _stream_duration(stream)
        if time >= 0 and time + 3 * step < 0.9 * promised:
            raise MediaError(f"{path}: truncated: the video ends at {time + step:.2f} of {promised:.2f} s")


def _levels(
    frame: VideoFrame, reformatter: VideoReformatter, size: tuple[int, int], crop: tuple[int, int] | None
) -> Callable[[], np.ndarray]:
    """A function that converts the frame: to RGB at the first frame's size, cropped, turned upright."""

    def convert() -> np.ndarray:
        levels = reformatter.reformat(frame, width=size[0], height=size[1], format="rgb24").to_ndarray()
        if crop is not None:
            levels = levels[: crop[1], : crop[0]]
        return np.ascontiguousarray(np.rot90(levels, round(frame.rotation / 90)))

    return convert


def _picture_header(path: Source, limits: Limits) -> Info:
    durations, width, height = [], 0, 0
    for file, duration in _shown(path, limits):
        durations.append(duration)
        width, height = file.size
    total, count = sum(durations), len(durations)
    if total > limits.max_seconds:
        raise MediaError(f"{path}: {total:.0f} s; the limit max_seconds is {limits.max_seconds:g}")
    return Info(duration=total, width=width, height=height, channels=3, fps=count / total, frames=count)


def _shown(path: Source, limits: Limits) -> Iterator[tuple[PillowImage.Image, float]]:
    """An animation at each of its frames in turn, decoded, and how long (s) the frame is shown.

    Pillow tells durations only as it decodes, and a few bytes unfold to many frames: their pixels are counted first.
    """
    with image.opened(path, limits) as file:
        count, pixels = getattr(file, "n_frames", 1), 0
        if count > limits.max_frames:
            raise MediaError(f"{path}: {count:,} frames; the limit max_frames is {limits.max_frames:,}")
        check_clip(path, count, file.width * file.height, limits)
        for index in range(count):
            file.seek(index)
            # A frame of a GIF may be larger than what its header says.
            _check_size(path, *file.size, limits)
            pixels += file.width * file.height
            check_clip(path, index + 1, pixels / (index + 1), limits)
            file.load()
            yield file, float(file.info.get("duration", 0) or 0) / 1000 or _DEFAULT_DURATION


def _picture_frames(path: Source, limits: Limits) -> Iterator[Frame]:
    time = 0.0
    for file, duration in _shown(path, limits):
        levels = np.asarray(file.convert("RGBA"))
        # Animations keep whole milliseconds (GIF: hundredths of a second).
        tolerance = 0.5e-2 if file.format == "GIF" else 0.5e-3
        yield Frame(time, duration, lambda levels=levels: levels, tolerance)
        time += duration
