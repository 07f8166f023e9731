"""Files of a video and a sound of which one was made for the other: what there is goes in as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from multigen.errors import MediaError
from multigen.modalities import Limits
from multigen.modalities.audio_channels import LAYOUTS, packed_frame
from multigen.modalities.container import open_container
from multigen.modalities.member import Source
from multigen.modalities.video_encoding import encode_video

_BITS = 192_000  # a second
_COPIED = ("h264", "hevc", "av1", "mpeg4")  # codecs of pictures that an MP4 takes as they are


@dataclass(frozen=True, eq=False)
class MadeSound:
    """Samples float32 [C, N] in [-1, 1] at a rate (Hz), for the file of a video."""

    samples: np.ndarray
    rate: int

    def begin(self, out: OutputContainer, seconds: float) -> Callable[[], None]:
        """Add its stream to a file of pictures, `seconds` long; what writes it once the pictures are there.

        MediaError where it cannot be encoded.
        """
        opus = out.format.name == "webm"
        coded = 48_000 if opus else self.rate
        layout = LAYOUTS[len(self.samples)]
        try:
            stream = out.add_stream("libopus" if opus else "aac", rate=coded, layout=layout)
            assert isinstance(stream, AudioStream)
            context = stream.codec_context
            assert isinstance(context, AudioCodecContext)
            context.bit_rate = _BITS
            context.open()
        except (FFmpegError, ValueError) as error:
            given = f"{len(self.samples)} channels at {self.rate} Hz"
            raise MediaError(f"the sound of a video cannot be {given} ({error})") from error
        heard = np.ascontiguousarray(self.samples[:, : max(1, round(seconds * self.rate))])

        def play() -> None:
            pieces = av.AudioResampler(
                format=context.format, layout=layout, rate=coded, frame_size=context.frame_size
            )
            for piece in [
                *pieces.resample(packed_frame(heard, self.rate, layout)),
                *pieces.resample(None),
                None,
            ]:
                out.mux(stream.encode(piece))

        return play


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
            if not container.streams.video:
                raise MediaError(f"{self.path}: there is no video in it")
            stream = container.streams.video[0]
            kind = stream.codec_context.name
            if kind not in _COPIED:
                raise MediaError(
                    f"{self.path}: its pictures ({kind}) cannot be copied into an MP4. Allowed: {', '.join(_COPIED)}. "
                    "The sound alone: --format wav"
                )
            with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
                copied = out.add_stream_from_template(stream)
                assert isinstance(copied, VideoStream)
                play = sound.begin(out, sound.samples.shape[1] / sound.rate)
                first = stream.start_time or 0
                for packet in container.demux(stream):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts - first, packet.dts - first
                    packet.stream = copied
                    out.mux(packet)
                play()
