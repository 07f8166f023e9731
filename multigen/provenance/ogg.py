"""XMP packets in Ogg files of Vorbis and Opus: their comments grow, their samples stay where they are (RFC 3533)."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass, replace

from multigen.provenance.comments import with_comments

_HEAD = struct.Struct(
    "<4sBBqIIIB"
)  # capture pattern, version, type, granule, serial, sequence, CRC, segments
_SEGMENTS = 255  # most of a page
_CONTINUED, _FIRST, _LAST = 1, 2, 4
# What the packet of comments begins with -> how many packets of headers follow it, and what ends it.
_KINDS = {b"OpusTags": (0, b""), b"\x03vorbis": (1, b"\x01")}


@dataclass(frozen=True)
class _Page:
    kind: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes
    data: bytes
    raw: bytes = b""  # as it stands in the file, where nothing of it changed

    def text(self) -> bytes:
        if self.raw:
            return self.raw
        fields = (b"OggS", 0, self.kind, self.granule, self.serial, self.sequence)
        content = self.lacing + self.data
        crc = _crc(_HEAD.pack(*fields, 0, len(self.lacing)) + content)
        return _HEAD.pack(*fields, crc, len(self.lacing)) + content


def ogg(content: bytes, packet: bytes, sentence: str) -> bytes:
    """An Ogg file with the packet and a line of text among its comments."""
    pages = _pages(content)
    number, parts = _headers(pages)
    start = next(start for start in _KINDS if parts[0].startswith(start))
    end = _KINDS[start][1]
    body = with_comments(parts[0][len(start) :], {"COMMENT": sentence.encode(), "XMP": packet})
    made = _paged([start + body + end, *parts[1:]], pages[0].serial)
    moved = len(made) - number
    rest = pages[1 + number :]
    if moved:
        rest = [replace(page, sequence=page.sequence + moved, raw=b"") for page in rest]
    return b"".join(page.text() for page in [pages[0], *made, *rest])


def _pages(content: bytes) -> list[_Page]:
    found, at = list[_Page](), 0
    while at + _HEAD.size <= len(content):
        _, _, kind, granule, serial, sequence, _, segments = _HEAD.unpack_from(content, at)
        begin = at + _HEAD.size + segments
        lacing = content[at + _HEAD.size : begin]
        end = begin + sum(lacing)
        found.append(_Page(kind, granule, serial, sequence, lacing, content[begin:end], content[at:end]))
        at = end
    return found


def _headers(pages: list[_Page]) -> tuple[int, list[bytes]]:
    """How many pages after the first hold headers, and the packets of these: comments, and what follows."""
    packets, last, wanted = list[bytes](), b"", 1
    for number, page in enumerate(pages[1:], 1):
        at = 0
        for size in page.lacing:
            last += page.data[at : at + size]
            at += size
            if size < _SEGMENTS:
                packets.append(last)
                last = b""
        if packets:
            wanted = 1 + next(more for start, (more, _) in _KINDS.items() if packets[0].startswith(start))
        if len(packets) >= wanted:
            return number, packets
    raise ValueError("the headers of an Ogg file are cut short")


def _paged(packets: list[bytes], serial: int) -> list[_Page]:
    """Packets of headers on pages, from the second page of a file on."""
    lacing = b"".join(b"\xff" * (len(one) // 255) + bytes([len(one) % 255]) for one in packets)
    data, found = b"".join(packets), list[_Page]()
    for at in range(0, len(lacing), _SEGMENTS):
        part = lacing[at : at + _SEGMENTS]
        size = sum(part)
        ends = any(one < _SEGMENTS for one in part)
        continued = _CONTINUED if at and lacing[at - 1] == _SEGMENTS else 0
        found.append(_Page(continued, 0 if ends else -1, serial, len(found) + 1, part, data[:size]))
        data = data[size:]
    return found


@functools.cache
def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
        rows.append(value)
    return tuple(rows)


def _crc(content: bytes) -> int:
    """The checksum of a page, whose own field is 0."""
    table, value = _table(), 0
    for byte in content:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value
