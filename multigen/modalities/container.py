"""Open media files with PyAV: limits are checked, and faults named, before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.video.stream import VideoStream

from multigen.errors import MediaError, reason
from multigen.modalities import Limits
from multigen.modalities.file_check import check_file
from multigen.modalities.member import Source

# FFmpeg's readers of files that contain their media. Playlists and the like (concat, hls, dash, sdp, image sequences),
# which FFmpeg recognises by their content under any suffix, would open other files.
FORMATS = (
    "aac", "aiff", "asf", "au", "avi", "caf", "flac", "flv", "h264", "hevc", "live_flv", "loas", "m4v", "matroska",
    "mov", "mp3", "mpeg", "mpegts", "mpegvideo", "ogg", "w64", "wav",
)  # fmt: skip

# Bytes in which FFmpeg looks for DTS behind 16-bit PCM; by default it goes on to a million, for 9 ms a file.
_WAV_PROBED = "65536"


@contextmanager
def open_container(path: Source, limits: Limits) -> Iterator[InputContainer]:
    """Open a file as a PyAV container. Every PyAV error inside the block becomes a MediaError that names the file."""
    check_file(path, limits)
    try:
        with _open(path) as container:
            for stream in container.streams:
                # A file that ends inside its header may have a stream whose codec is unknown.
                if stream.type in ("audio", "video") and stream.codec_context is None:
                    raise MediaError(
                        f"{path}: cannot be read (its header is truncated: the {stream.type} codec is unknown)"
                    )
            yield container
    except (FFmpegError, UnicodeDecodeError) as error:
        raise MediaError(f"{path}: cannot be read ({reason(error)})") from error


@contextmanager
def _open(path: Source) -> Iterator[InputContainer]:
    if isinstance(path, Path):
        with _container(str(path), path) as container:
            yield container
        return
    with path.open() as file, _container(file, path) as container:
        yield container


def _container(file: str | BinaryIO, path: Source) -> InputContainer:
    # FFmpeg checks the format before its reader starts, and every protocol before it is used.
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
    if str(path).lower().endswith(".wav"):
        options["probesize"] = _WAV_PROBED
    try:
        return av.open(file, "r", options=options)
    except ArgumentError as error:
        raise MediaError(
            f"{path}: cannot be read: damaged, or a format that is not allowed. Allowed: {', '.join(FORMATS)}"
        ) from error


def packets_end(container: InputContainer, stream: AudioStream | VideoStream) -> float:
    """Return when the last packet of a stream ends, in s from its start. Reads the whole file, without decoding."""
    tick = float(stream.time_base or 0)
    end, previous = 0, None
    try:
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            # A packet that does not say how long it lasts is taken to last as long as the one before.
            length = packet.duration or (max(0, packet.pts - previous) if previous is not None else 0)
            end, previous = max(end, packet.pts + length), packet.pts
    except FFmpegError:  # as far as it can be read; whoever decodes it meets the fault
        pass
    return max(0.0, (end - (stream.start_time or 0)) * tick)


def packet_times(container: InputContainer, stream: VideoStream, most: int) -> list[float]:
    """When the frames of a stream are shown, in s and in order; of `most` packets. Nothing is decoded."""
    tick, times = float(stream.time_base or 0), list[float]()
    with suppress(FFmpegError):  # as far as it can be read; whoever decodes it meets the fault
        for packet in islice(container.demux(stream), most):
            if packet.pts is not None:
                times.append(packet.pts * tick)
    return sorted(times)
