"""Which files may tell of how they were made. Only the standard library is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Suffixes of files that we sign -> media type.
TYPES: Mapping[str, str] = {
    ".png": "image/png", ".apng": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
    ".gif": "image/gif", ".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".m4a": "audio/mp4",
    ".mp4": "video/mp4", ".mov": "video/quicktime", ".tif": "image/tiff", ".tiff": "image/tiff",
}  # fmt: skip
# And others that may hold the manifest of a source, or be read by `info` and `verify`.
READ: Mapping[str, str] = TYPES | {
    ".jfif": "image/jpeg", ".avif": "image/avif", ".heic": "image/heic",
    ".heif": "image/heif", ".m4v": "video/mp4", ".avi": "video/avi",
}  # fmt: skip
# Files that may tell of themselves. Recipes and weights have other suffixes.
MEDIA = frozenset(READ) | {".ogg", ".opus", ".aac", ".webm", ".mkv", ".pcm"}


def is_medium(source: str) -> bool:
    """Whether a source is a media file, by its suffix, and not a recipe or weights."""
    return Path(source).suffix.lower() in MEDIA and not Path(source).is_dir()
