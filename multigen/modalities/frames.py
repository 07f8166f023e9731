"""Frames of a video file with their times, and the frames that a constant rate shows."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

from multigen.modalities import Info, Limits
from multigen.modalities.animation import animation_frames, animation_gaps, animation_header
from multigen.modalities.frame import Frame
from multigen.modalities.member import Source
from multigen.modalities.video_stream import counted, stream_frames, stream_gaps, stream_header

_FASTEST = 300.0  # frames/s; those that follow sooner are one
# Of the mean time between frames: where a twentieth of them follow sooner, the rate is variable.
_STEADY = 0.9

# Read with Pillow: FFmpeg lacks animated WebP, and a photograph is a clip of one frame.
PICTURES = (
    ".gif", ".webp", ".png", ".apng", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif",
)  # fmt: skip


def read_header(path: Source, limits: Limits, *, count: bool = True) -> Info:
    """Read the header. MediaError if the file has no video or is over a limit. A video stream is not decoded.

    Where a header gives no duration, all packets are read to find it; without `count` the duration stays 0.
    """
    if path.suffix.lower() in PICTURES:
        return animation_header(path, limits)
    info = stream_header(path, limits)
    return info if info.duration or not count else counted(path, limits, info)


def read_frames(path: Source, limits: Limits, start: float = 0.0) -> Generator[Frame]:
    """Yield frames in the order of their times, from the one shown at `start` (s), or an earlier one, on."""
    if path.suffix.lower() in PICTURES:
        yield from animation_frames(path, limits)
        return
    if start > 0:
        seeking = stream_frames(path, limits, start)
        first = next(seeking, None)
        if first is not None and first.time <= start + first.tolerance:
            yield first
            yield from seeking
            return
        seeking.close()  # some containers seek too far: read from the beginning instead
    yield from stream_frames(path, limits, 0.0)


def steady_rate(path: Source, limits: Limits, average: float) -> float:
    """Frames/s at which no frame is left out: the average, or of a file with variable rate that of its fast parts.

    Of those, no more than a twentieth of the frames follow faster.
    """
    find = animation_gaps if path.suffix.lower() in PICTURES else stream_gaps
    gaps, tick = find(path, limits)
    gaps = sorted(gap for gap in gaps if gap > 1 / _FASTEST)
    if not gaps:
        return average
    short, mean = gaps[len(gaps) // 20], sum(gaps) / len(gaps)
    return 1 / short if short + tick < _STEADY * mean else average


def shown_at(count: int, fps: float, to: float) -> list[int]:
    """Which of `count` frames at `fps` is shown at each k/to (s), to the end."""
    total = max(1, round(count * to / fps))
    return [min(math.floor(k * fps / to + 1e-6), count - 1) for k in range(total)]


def at_rate(
    shown: Iterator[Frame], fps: float, start: float, count: int | None, *, gap: float, promised: float = 0.0
) -> Iterator[Frame]:
    """Yield the frame that is shown at each start + k/fps (s), to the end, or at most `count` of them.

    gap       how long the last frame lasts if the file does not say, s
    promised  where the header says that the video ends, s; 0: it does not
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
    if promised > frame.time + 1e-3:  # a frame may carry the duration of the one that was coded before it
        end = min(end, promised)
    total = max(1, round((end - start) * fps)) if start < end else 0
    first = round((frame.time - start) * fps)  # of the last frame, which is shown however short it is
    if total and abs(start + first / fps - frame.time) <= frame.tolerance:
        total = max(total, first + 1)
    for _ in range(k, total if count is None else min(count, total)):
        yield frame


def is_still(path: Source, info: Info) -> bool:
    """Whether a file is a photograph: one frame without a time. That of a GIF says how long it is shown."""
    suffix = path.suffix.lower()
    return suffix in PICTURES and suffix != ".gif" and info.frames == 1
