"""XMP packets in TIFF files (TIFF 6.0; XMP specification part 3). Pixels stay as they are, byte for byte."""

from __future__ import annotations

import struct

_XMP, _BYTE = 700, 1  # a tag, and the kind of its value


def tiff(content: bytes, packet: bytes) -> bytes:
    """A TIFF with the packet, and a new first directory at its end. One of 64 bits stays as it is."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None:
        return content
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, at)
    rows = [content[at + 2 + 12 * k : at + 14 + 12 * k] for k in range(count)]
    following = content[at + 2 + 12 * count : at + 6 + 12 * count]
    whole = content + b"\0" * (len(content) % 2)
    rows = [row for row in rows if struct.unpack_from(f"{order}H", row)[0] != _XMP]
    rows.append(struct.pack(f"{order}HHII", _XMP, _BYTE, len(packet), len(whole)))
    rows.sort(key=lambda row: struct.unpack_from(f"{order}H", row)[0])
    whole += packet + b"\0" * (len(packet) % 2)
    directory = struct.pack(f"{order}H", len(rows)) + b"".join(rows) + following
    return whole[:4] + struct.pack(f"{order}I", len(whole)) + whole[8:] + directory
