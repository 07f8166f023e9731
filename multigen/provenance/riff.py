"""Chunks of RIFF files, which WAV and WebP are."""

from __future__ import annotations

import struct


def riff_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk with its length, at an even number of bytes."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
