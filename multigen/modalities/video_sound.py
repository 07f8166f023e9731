"""The sound of a video that is edited: its packets are copied into the file that is written, along with the frames."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError

from multigen.errors import MediaError
from multigen.modalities import Limits
from multigen.modalities.audio_header import audio_stream
from multigen.modalities.container import open_container
from multigen.modalities.member import Source

# FFmpeg's names of the containers of pictures and a sound that are written.
CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# Codecs whose packets a container takes as they are; those of others are encoded anew, as AAC or Opus.
_COPIED = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le"),
    "webm": ("opus", "vorbis"),
    "matroska": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac", "vorbis", "pcm_s16le", "pcm_s24le"),
}
# Gives when its next piece begins, s, and writes that once it goes on; it is told whether it ends there instead.
Pieces: TypeAlias = Generator[float, bool | None, None]


def sound_of(path: Source, limits: Limits) -> Sound | None:
    """The sound of a file; None where it has none."""
    with open_container(path, limits) as container:
        return Sound(path, limits) if container.streams.audio else None


@dataclass(frozen=True)
class Sound:
    """The first sound of a file, which begins `later` s after the pictures."""

    path: Source
    limits: Limits
    later: float = 0.0

    def begin(self, out: OutputContainer) -> Playing:
        """Add its stream to a file of pictures; what writes it along with them.

        MediaError where it can be neither copied nor encoded.
        """
        with open_container(self.path, self.limits) as container:
            stream, _ = audio_stream(container, self.path)
            kind = stream.codec_context.name
            if kind in _COPIED[out.format.name]:
                copied = out.add_stream_from_template(stream)
                return Playing(self._copied(out, copied))
            opus = out.format.name == "webm"
            rate = 48_000 if opus else stream.codec_context.sample_rate
            layout = "stereo" if stream.codec_context.channels > 1 else "mono"
        made = out.add_stream("libopus" if opus else "aac", rate=rate, layout=layout)
        context = made.codec_context
        assert isinstance(made, AudioStream)
        assert isinstance(context, AudioCodecContext)
        context.bit_rate = 192_000
        context.open()
        return Playing(self._encoded(out, made, context))

    def _copied(self, out: OutputContainer, copied: AudioStream) -> Pieces:
        with open_container(self.path, self.limits) as container:
            stream, _ = audio_stream(container, self.path)
            tick = stream.time_base
            assert tick is not None
            first, moved = stream.start_time or 0, round(self.later / tick)
            for packet in container.demux(stream):
                if packet.pts is None or packet.dts is None:
                    continue
                packet.pts, packet.dts = packet.pts - first + moved, packet.dts - first + moved
                if (yield float(packet.pts * tick)):
                    return
                packet.stream = copied
                out.mux(packet)

    def _encoded(self, out: OutputContainer, made: AudioStream, context: AudioCodecContext) -> Pieces:
        rate = context.sample_rate
        pieces = av.AudioResampler(
            format=context.format, layout=context.layout, rate=rate, frame_size=context.frame_size
        )
        fault: Exception | None = None
        with open_container(self.path, self.limits) as container:
            stream, _ = audio_stream(container, self.path)
            place = round(self.later * rate)
            try:
                for frame in container.decode(stream):
                    assert isinstance(frame, AudioFrame)
                    frame.pts = None
                    if (yield place / rate):
                        break
                    for piece in pieces.resample(frame):
                        place = put(out, made, piece, place)
            except (FFmpegError, ValueError) as error:  # what came before it is written
                fault = error
            try:
                for piece in pieces.resample(None):
                    place = put(out, made, piece, place)
                out.mux(made.encode(None))
            except (FFmpegError, ValueError) as error:
                fault = fault or error
        if fault is not None:
            raise MediaError(f"{self.path}: its sound cannot be read ({fault})") from fault


class Playing:
    """A sound that is written beside pictures, as far as they have come.

    error  what ended it early, if anything did: the pictures go on without it
    """

    def __init__(self, pieces: Pieces) -> None:
        self.error: MediaError | None = None
        self._pieces, self._seconds = pieces, 0.0
        self._next = self._on(None)

    def to(self, seconds: float) -> None:
        """Write what begins before a time, s."""
        self._seconds = seconds
        while self._next < seconds:
            self._next = self._on(False)

    def end(self) -> None:
        """Write what is left of what begins before the last time, and no more."""
        if self._next < math.inf:
            self._on(True)

    def _on(self, stop: bool | None) -> float:
        try:
            return self._pieces.send(stop)
        except StopIteration:
            return math.inf
        except MediaError as error:
            after = "" if stop is None else f"; it ends at {self._next:.2f} s"
            self.error = MediaError(f"{error}{after}")
            return math.inf


def put(out: OutputContainer, made: AudioStream, piece: AudioFrame, place: int) -> int:
    """Write a piece at a place, in samples; the place after it."""
    piece.pts, piece.time_base = place, Fraction(1, piece.sample_rate)
    out.mux(made.encode(piece))
    return place + piece.samples
