"""PNG files put together of their chunks, for what image libraries do not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_file(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, each a name and its data."""
    return _SIGNATURE + b"".join(png_chunk(name, data) for name, data in chunks)


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
