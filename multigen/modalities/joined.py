"""Files of a video and a sound of which one was made for the other: what there is goes in as it is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from multigen.errors import MediaError
from multigen.modalities import Limits
from multigen.modalities.audio_channels import LAYOUTS, packed_frame
from multigen.modalities.container import open_container
from multigen.modalities.member import Source
from multigen.modalities.video_encoding import encode_video
from multigen.modalities.video_sound import CONTAINERS, Pieces, Playing, put

_BITS = 192_000  # a second
_COPIED = ("h264", "hevc", "av1", "mpeg4")  # codecs of pictures that an MP4 takes as they are
_ALONE = "The sound alone: --format wav"


@dataclass(frozen=True, eq=False)
class MadeSound:
    """Samples float32 [C, N] in [-1, 1] at a rate (Hz), for the file of a video."""

    samples: np.ndarray
    rate: int

    def check(self, suffix: str) -> None:
        """MediaError where a file of pictures of this suffix cannot hold it."""
        with av.open(io.BytesIO(), "w", format=CONTAINERS[suffix]) as out:
            self._stream(out)

    def begin(self, out: OutputContainer) -> Playing:
        """Add its stream to a file of pictures; what writes it along with them.

        MediaError where it cannot be encoded.
        """
        return Playing(self._pieces(out, *self._stream(out)))

    def _stream(self, out: OutputContainer) -> tuple[AudioStream, AudioCodecContext, str]:
        opus = out.format.name == "webm"
        layout = LAYOUTS.get(len(self.samples), "")
        try:
            stream = out.add_stream(
                "libopus" if opus else "aac", rate=48_000 if opus else self.rate, layout=layout
            )
            assert isinstance(stream, AudioStream)
            context = stream.codec_context
            assert isinstance(context, AudioCodecContext)
            context.bit_rate = _BITS
            context.open()
        except (FFmpegError, ValueError) as error:
            given = f"{len(self.samples)} channels at {self.rate} Hz"
            raise MediaError(f"the sound of a video cannot be {given} ({error})") from error
        return stream, context, layout

    def _pieces(
        self, out: OutputContainer, stream: AudioStream, context: AudioCodecContext, layout: str
    ) -> Pieces:
        pieces = av.AudioResampler(
            format=context.format, layout=layout, rate=context.sample_rate, frame_size=context.frame_size
        )
        place = 0
        for piece in [
            *pieces.resample(packed_frame(self.samples, self.rate, layout)),
            *pieces.resample(None),
        ]:
            if (yield place / context.sample_rate):
                break
            place = put(out, stream, piece, place)
        out.mux(stream.encode(None))


@dataclass(frozen=True, eq=False)
class MadePictures:
    """uint8 [T, H, W, 3] at `fps`, for the file of their sound."""

    levels: np.ndarray
    fps: float

    def write(self, path: Path, sound: MadeSound) -> None:
        """An MP4 of both."""
        encode_video(self.levels, str(path), ".mp4", self.fps, sound)


@dataclass(frozen=True, eq=False)
class FilePictures:
    """The pictures of a file, for the file of the sound that was made for them: its packets are copied."""

    path: Source
    limits: Limits

    def write(self, path: Path, sound: MadeSound) -> None:
        """An MP4 of both. MediaError for a file that is of no video, or of a codec that an MP4 does not take."""
        with open_container(self.path, self.limits) as container:
            stream = self._stream(container)
            with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
                copied = out.add_stream_from_template(stream)
                assert isinstance(copied, VideoStream)
                playing = sound.begin(out)
                first, tick = stream.start_time or 0, stream.time_base
                assert tick is not None
                for packet in container.demux(stream):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts - first, packet.dts - first
                    packet.stream = copied
                    playing.to(float(packet.dts * tick))
                    out.mux(packet)
                playing.to(sound.samples.shape[1] / sound.rate)
                playing.end()

    def check(self) -> None:
        """MediaError as of `write`."""
        try:
            with open_container(self.path, self.limits) as container:
                self._stream(container)
        except MediaError as error:
            if _ALONE in str(error):
                raise
            raise MediaError(f"{error}. {_ALONE}") from error

    def _stream(self, container: InputContainer) -> VideoStream:
        if not container.streams.video:
            raise MediaError(f"{self.path}: there is no video in it")
        stream = container.streams.video[0]
        kind = stream.codec_context.name
        if kind not in _COPIED:
            raise MediaError(
                f"{self.path}: its pictures ({kind}) cannot be copied into an MP4. Allowed: {', '.join(_COPIED)}. "
                f"{_ALONE}"
            )
        return stream
