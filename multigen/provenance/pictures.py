"""XMP packets in files of pictures and video. Pixels and frames stay as they are, byte for byte.

Where: Adobe, XMP specification part 3, storage in files.
"""

from __future__ import annotations

import struct

from multigen.provenance.riff import riff_chunk
from multigen.storage.png import png_chunk

_PNG_HEAD = 33  # bytes of the signature and IHDR
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10  # of VP8X
_JPEG_NAME = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_MOST = 65533 - len(_JPEG_NAME)
# A reader of GIF takes the packet for blocks, whose lengths are its bytes. Wherever that ends, the next byte of this
# leads to its end.
_GIF_END = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
_MP4_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def png(content: bytes, packet: bytes, sentence: str) -> bytes:
    """A PNG with the packet and a line of text."""
    xmp = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    said = png_chunk(b"tEXt", b"Comment\0" + sentence.encode("latin-1", "replace"))
    return content[:_PNG_HEAD] + said + xmp + content[_PNG_HEAD:]


def jpeg(content: bytes, packet: bytes) -> bytes:
    """A JPEG with the packet after its JFIF header. A packet over `JPEG_MOST` bytes does not fit."""
    at = 2
    if content[2:4] == b"\xff\xe0":
        at = 4 + struct.unpack(">H", content[4:6])[0]
    data = _JPEG_NAME + packet
    return content[:at] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + content[at:]


def webp(content: bytes, packet: bytes) -> bytes:
    """A WebP with the packet as its last chunk; a simple file becomes an extended one."""
    body, name = content[12:], content[12:16]
    if name == b"VP8X":
        body = body[:8] + bytes([body[8] | _XMP_FLAG]) + body[9:]
    else:
        width, height, alpha = _size(name, content[20:30])
        flags = _XMP_FLAG | (_ALPHA_FLAG if alpha else 0)
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + sides) + body
    body += riff_chunk(b"XMP ", packet)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _size(name: bytes, head: bytes) -> tuple[int, int, bool]:
    """Width, height and whether there is alpha, of a simple WebP (RFC 9649, 2.5 and 2.6)."""
    if name == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack("<HH", head[6:10])
    return width & 0x3FFF, height & 0x3FFF, False


def gif(content: bytes, packet: bytes) -> bytes:
    """A GIF with the packet as an application extension before its trailer."""
    extension = b"\x21\xff\x0bXMP DataXMP" + packet + _GIF_END
    return b"GIF89a" + content[6:-1] + extension + content[-1:]


def mp4(content: bytes, packet: bytes) -> bytes:
    """An MP4, MOV or M4A with the packet in a box at its end: no offset in it changes."""
    return content + struct.pack(">I", 24 + len(packet)) + b"uuid" + _MP4_XMP + packet
