"""Vorbis comments, as FLAC, Vorbis and Opus have them (Vorbis I specification, 5)."""

from __future__ import annotations

import struct
from collections.abc import Mapping


def with_comments(block: bytes, more: Mapping[str, bytes]) -> bytes:
    """A block of comments with more of them; what follows them, such as padding, goes."""
    vendor, at = _text(block, 0)
    (count,) = struct.unpack_from("<I", block, at)
    comments, at = list[bytes](), at + 4
    for _ in range(count):
        one, at = _text(block, at)
        comments.append(one)
    comments += [name.encode() + b"=" + value for name, value in more.items()]
    return _sized(vendor) + struct.pack("<I", len(comments)) + b"".join(map(_sized, comments))


def no_comments(vendor: str) -> bytes:
    """A block without comments."""
    return _sized(vendor.encode()) + bytes(4)


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from("<I", block, at)
    return block[at + 4 : at + 4 + size], at + 4 + size


def _sized(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data
