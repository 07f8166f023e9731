"""Frames of a video stream, read with FFmpeg."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Generator
from itertools import pairwise

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from multigen.errors import MediaError
from multigen.modalities import Info, Limits
from multigen.modalities.container import open_container, packet_times, packets_end
from multigen.modalities.file_check import check_count, check_duration, check_frame
from multigen.modalities.frame import DEFAULT_DURATION, SIZE_TAG, Frame
from multigen.modalities.member import Source
from multigen.modalities.threads import decoding_threads
from multigen.modalities.video_colour import rgb_levels
from multigen.modalities.video_geometry import shown_size, upright

_FASTEST = 300.0  # frames/s of a file; above, its rate is rather that of its ticks
_LOOKED_AT = 20_000  # packets whose times are read, to see whether the frame rate is a steady one
_SHARED = 400_000  # pixels; smaller frames take longer to pass between threads than to decode


def stream_header(path: Source, limits: Limits) -> Info:
    """Read the header of a video. MediaError if the file has no video or is over a limit.

    The duration is 0 if the header does not say it, as in live recordings; see `counted`.
    """
    with open_container(path, limits) as file:
        return _header(path, file, _stream(path, file), limits)


def counted(path: Source, limits: Limits, info: Info) -> Info:
    """Complete a header without a duration: read all packets, without decoding. MediaError if it is over a limit."""
    with open_container(path, limits) as file:
        duration = packets_end(file, _stream(path, file))
    frames = info.frames or round(duration * info.fps)
    check_duration(path, duration, limits)
    check_count(path, frames, limits)
    return dataclasses.replace(info, duration=duration, frames=frames)


def stream_gaps(path: Source, limits: Limits) -> tuple[list[float], float]:
    """Times from one frame to the next, and to what the file rounds them, s; of the first frames of a long file."""
    with open_container(path, limits) as file:
        stream = _stream(path, file)
        times = packet_times(file, stream, _LOOKED_AT)
        return [b - a for a, b in pairwise(times)], float(stream.time_base or 0)


def _stream(path: Source, file: InputContainer) -> VideoStream:
    """The first video stream that is not a cover picture."""
    for stream in file.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise MediaError(f"{path}: there is no video in it")


def _header(path: Source, file: InputContainer, stream: VideoStream, limits: Limits) -> Info:
    width, height = _true_size(file) or shown_size(stream)
    check_frame(path, stream.codec_context.width, stream.codec_context.height, limits)
    check_frame(path, width, height, limits)
    duration = _stream_duration(stream) or (file.duration or 0) / av.time_base
    fps = _rate(stream)
    in_ticks = fps < float(stream.average_rate or 0)  # then their number is that of ticks, too
    count = round(duration * fps) if in_ticks else stream.frames or round(duration * fps)
    check_duration(path, duration, limits)
    check_count(path, count, limits)
    return Info(duration=duration, width=width, height=height, channels=3, fps=fps, frames=count)


def _rate(stream: VideoStream) -> float:
    """Frames/s; 0 if unknown. Some files give their ticks, such as 1000/s, as their average rate."""
    average, guessed = float(stream.average_rate or 0), float(stream.guessed_rate or 0)
    tick = 1 / float(stream.time_base or 1)
    return guessed if guessed and average >= min(tick, _FASTEST) else average or guessed


def _stream_duration(stream: VideoStream) -> float:
    """Duration of the video stream in s; 0 if the container does not say."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska
    if match is None:
        return 0.0
    hours, minutes, seconds = map(float, match.groups())
    end = hours * 3600 + minutes * 60 + seconds
    return max(0.0, end - float((stream.start_time or 0) * (stream.time_base or 0)))


def _true_size(file: InputContainer) -> tuple[int, int] | None:
    """(width, height) from the comment that `Video.write` leaves where it padded odd sizes."""
    comment = next((v for k, v in file.metadata.items() if k.lower() == "comment"), "")  # Matroska: capitals
    width, _, height = comment.removeprefix(SIZE_TAG).partition("x")
    if comment.startswith(SIZE_TAG) and width.isdecimal() and height.isdecimal():
        return int(width), int(height)
    return None


def stream_frames(path: Source, limits: Limits, start: float) -> Generator[Frame]:
    """Yield frames from the one shown at `start` (s), or an earlier one, on. MediaError names the fault."""
    with open_container(path, limits) as file:
        stream = _stream(path, file)
        info = _header(path, file, stream, limits)
        # Threads decode whole frames, because most files have no slices. Loader workers have one thread each.
        threads = decoding_threads() if info.width * info.height >= _SHARED else 1
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        tick = float(stream.time_base or 0) or 1e-3
        origin = (stream.start_time or 0) * tick
        if start > 0:
            file.seek(int((start + origin) / tick), stream=stream, backward=True)
        crop, size, time = _true_size(file), None, -1.0
        reformatter = VideoReformatter()  # one for all frames, because setting it up is slow
        step = 1 / info.fps if info.fps else DEFAULT_DURATION
        for count, frame in enumerate(file.decode(stream)):
            check_count(path, count + 1, limits)
            check_frame(path, frame.width, frame.height, limits)
            size = size or shown_size(stream, frame.width, frame.height)
            if frame.pts is not None:
                time = max(time, frame.pts * tick - origin)
            else:  # raw streams carry no times, so the place after a seek is unknown
                time = time + step if time >= 0 else (float("inf") if start > 0 else 0.0)
            # Containers round times to their tick (1 ms in Matroska); coarser ticks are exact.
            tolerance = min(tick / 2, 1e-3) + 1e-6
            yield Frame(
                time, (frame.duration or 0) * tick, _levels(frame, reformatter, size, crop), tolerance
            )
        # FFmpeg reports most truncated files as errors, but not those that end between packets.
        promised = _stream_duration(stream)
        if time >= 0 and time + 3 * step < 0.9 * promised:
            raise MediaError(f"{path}: truncated: the video ends at {time + step:.2f} of {promised:.2f} s")


def _levels(
    frame: VideoFrame, reformatter: VideoReformatter, size: tuple[int, int], crop: tuple[int, int] | None
) -> Callable[[], np.ndarray]:
    """A function that converts the frame to RGB at the first frame's size, cropped and upright."""

    def convert() -> np.ndarray:
        levels = rgb_levels(frame, reformatter, *size)
        if crop is not None:
            levels = levels[: crop[1], : crop[0]]
        return upright(levels, frame)

    return convert
