"""Opening media files with PyAV, with limits checked and faults named before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from multigen.errors import MediaError
from multigen.modalities import Limits


def check_file(path: Path, limits: Limits) -> None:
    """MediaError if the file is missing, not a file, empty or over the byte limit."""
    if not path.is_file():
        raise MediaError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    size = path.stat().st_size
    if size == 0:
        raise MediaError(f"{path}: the file is empty")
    if size > limits.max_bytes:
        raise MediaError(f"{path}: {size:,} bytes; the limit max_bytes is {limits.max_bytes:,}")


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[InputContainer]:
    """The file as a PyAV container; every PyAV fault inside the block becomes a MediaError that names the file."""
    check_file(path, limits)
    try:
        # Local files only: a playlist must not make FFmpeg open other files or the network.
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            for stream in container.streams:
                # Of a file cut inside its header FFmpeg may know a stream, but not what is in it.
                if stream.type in ("audio", "video") and stream.codec_context is None:
                    raise MediaError(
                        f"{path}: cannot be read (its header is cut: the {stream.type} codec is unknown)"
                    )
            yield container
    except (FFmpegError, UnicodeDecodeError) as error:
        raise MediaError(f"{path}: cannot be read ({error})") from error
