"""What is checked of a media file before anything opens it; pictures need no PyAV."""

from __future__ import annotations

from pathlib import Path

from multigen.errors import MediaError
from multigen.modalities import Limits
from multigen.modalities.member import Source, size_of


def check_file(path: Source, limits: Limits) -> None:
    """MediaError if the file is missing, not a file, empty or over the byte limit."""
    if isinstance(path, Path) and not path.is_file():
        raise MediaError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    size = size_of(path)
    if size == 0:
        raise MediaError(f"{path}: the file is empty")
    if size > limits.max_bytes:
        raise MediaError(f"{path}: {size:,} bytes; the limit max_bytes is {limits.max_bytes:,}")
