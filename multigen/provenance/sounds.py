"""XMP packets and lines of text in files of sound, and in Matroska. Samples and frames stay as they are."""

from __future__ import annotations

import io
import struct

from multigen.provenance.comments import no_comments, with_comments
from multigen.provenance.riff import riff_chunk

_COMMENT = 4  # type of FLAC's block of Vorbis comments


def wav(content: bytes, packet: bytes, sentence: str) -> bytes:
    """A WAV with `wav_chunks` at its end."""
    body = content[8:] + b"\0" * (len(content) % 2) + wav_chunks(packet, sentence)
    return content[:4] + struct.pack("<I", len(body)) + body


def wav_chunks(packet: bytes, sentence: str) -> bytes:
    """RIFF INFO, and the packet as the chunk _PMX."""
    text = sentence.encode("ascii", "replace") + b"\0"
    info = b"INFO" + riff_chunk(b"ISFT", b"multigen\0") + riff_chunk(b"ICMT", text)
    return riff_chunk(b"LIST", info) + riff_chunk(b"_PMX", packet)


def flac(content: bytes, packet: bytes, sentence: str) -> bytes:
    """A FLAC whose Vorbis comments have the packet, too (RFC 9639, 8.6)."""
    blocks, at, last = list[tuple[int, bytes]](), 4, False
    while not last:
        kind, size = content[at], int.from_bytes(content[at + 1 : at + 4], "big")
        last = bool(kind & 0x80)
        blocks.append((kind & 0x7F, content[at + 4 : at + 4 + size]))
        at += 4 + size
    there = next((data for kind, data in blocks if kind == _COMMENT), no_comments("multigen"))
    said = with_comments(there, {"COMMENT": sentence.encode(), "XMP": packet})
    rest = [(kind, data) for kind, data in blocks if kind != _COMMENT]
    rest.insert(1, (_COMMENT, said))  # STREAMINFO comes first
    head = b"".join(
        bytes([kind | (0x80 if k == len(rest) - 1 else 0)]) + len(data).to_bytes(3, "big") + data
        for k, (kind, data) in enumerate(rest)
    )
    return content[:4] + head + content[at:]


def id3(content: bytes, packet: bytes, sentence: str) -> bytes:
    """An MP3, or AAC as a stream, with the packet in its ID3 tag of version 2.4, or in a new one."""
    frames, rest, flags = b"", content, 0
    if content[:4] == b"ID3\x04":
        size, flags = _number(content[6:10]), content[5]
        frames, rest = _frames(content[10 : 10 + size]), content[10 + size :]
    said = _frame(b"COMM", b"\x03eng\0" + sentence.encode()) + _frame(b"PRIV", b"XMP\0" + packet)
    return b"ID3\x04\0" + bytes([flags]) + _bytes(len(frames) + len(said)) + frames + said + rest


def id3_size(content: bytes) -> int:
    """Bytes of the ID3v2 tag, with its header, that a file begins with."""
    return 10 + _number(content[6:10])


def _frames(tag: bytes) -> bytes:
    """The frames of a tag, without its padding."""
    at = 0
    while at + 10 <= len(tag) and tag[at] != 0:
        at += 10 + _number(tag[at + 4 : at + 8])
    return tag[:at]


def _frame(name: bytes, data: bytes) -> bytes:
    return name + _bytes(len(data)) + b"\0\0" + data


def _number(data: bytes) -> int:
    """28 bits, 7 in each byte."""
    return sum((byte & 0x7F) << 7 * (3 - k) for k, byte in enumerate(data))


def _bytes(number: int) -> bytes:
    return bytes(number >> 7 * k & 0x7F for k in (3, 2, 1, 0))


def remuxed(content: bytes, packet: bytes, sentence: str, kind: str) -> bytes:
    """WebM or Matroska with tags: the same packets in a new container. `kind`: FFmpeg's name of it."""
    import av

    out = io.BytesIO()
    with (
        av.open(io.BytesIO(content), "r") as source,
        av.open(out, "w", format=kind, options={"fflags": "+bitexact"}) as target,
    ):
        noted = any(name.lower() == "comment" for name in source.metadata)  # such as the size of odd frames
        said = {"XMP": packet.decode("ascii"), **({} if noted else {"comment": sentence})}
        target.metadata.update({**source.metadata, **said})
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for part in source.demux():
            if part.size:  # the last is empty
                part.stream = streams[part.stream.index]
                target.mux(part)
    return out.getvalue()
