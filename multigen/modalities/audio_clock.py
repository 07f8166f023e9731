"""Exact times of audio frames, also where a container rounds them to its ticks."""

from __future__ import annotations

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

FIRST_FRAMES = 4  # decoded from the start of a stream, to learn where its frames begin
# Codecs whose frame, decoded, holds what lies one frame before its time: each overlaps with the next (MDCT), and these
# containers do not say so.
_LATE = ("wmav1", "wmav2")


class Clock:
    """Tells at which time (s) from the start of a stream a frame begins.

    Matroska and ASF round times to 1 ms, some 44 samples. Where the frames of a stream have one size, they lie on a
    grid, which `learn` finds from the first of them: then times are exact to the sample. Frames of various sizes
    (Vorbis in Matroska) keep the error of half a tick.

    coarse  whether times are rounded to more than a sample
    """

    def __init__(self, stream: AudioStream) -> None:
        assert stream.time_base is not None  # every opened stream has one
        self._tick = float(stream.time_base)
        self._origin = (stream.start_time or 0) * self._tick
        self._late = stream.codec_context.name in _LATE
        self.coarse = self._tick > 1 / stream.codec_context.sample_rate
        self._count, self._sizes = 0, [0, 0]  # samples so far, sizes of the last two frames
        self._first: float | None = None

    def ticks(self, seconds: float) -> int:
        """A time from the start of the stream in the container's ticks."""
        return int((seconds + self._origin) / self._tick)

    def learn(self, frame: AudioFrame) -> None:
        """Take note of the next of the first frames."""
        if self._first is None:
            self._first = self._rounded(frame)
        self._count += frame.samples
        self._sizes = [self._sizes[1], frame.samples]

    def time(self, frame: AudioFrame) -> float | None:
        """When a frame begins; None if it does not say."""
        at, size = self._rounded(frame), self._sizes[1]
        if at is None or self._first is None or size == 0 or len({*self._sizes, frame.samples}) > 1:
            return at
        # The grid is where the last of the first frames ended, give or take whole frames.
        rate = frame.sample_rate
        end = round(self._first * rate) + self._count
        exact = (end + round((at * rate - end) / size) * size) / rate
        return exact if abs(exact - at) <= 1.5 * self._tick else at

    def _rounded(self, frame: AudioFrame) -> float | None:
        if frame.time is None:
            return None
        at = max(0.0, frame.time - self._origin)
        if not self._late:
            return at
        size = frame.samples / frame.sample_rate
        whole = round(at / size) * size
        return max(0.0, (whole if abs(whole - at) <= 1.5 * self._tick else at) - size)
