"""Members of a shard: media inside a larger file, read in place. Nothing is unpacked to disk."""

from __future__ import annotations

import io
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from multigen.errors import MediaError

WHOLE = 16 * 1024**2  # members up to this many bytes are read at once, and their checksum is compared


@dataclass(frozen=True)
class Member:
    """A file inside a shard.

    path      of the shard
    name      for messages and the format; never a place on this disk
    offset    where its bytes begin
    size      bytes
    checksum  CRC-32 of the bytes
    """

    path: Path
    name: str
    offset: int
    size: int
    checksum: int

    @property
    def suffix(self) -> str:
        """Suffix of the name, with the dot."""
        return PurePosixPath(self.name).suffix

    def __str__(self) -> str:
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in self.name)
        return f"{self.path}/{shown}"

    def open(self) -> BinaryIO:
        """Open the bytes as a file of their own, which the caller closes, so that processes share nothing.

        MediaError if the shard is gone or ends too early, or if the checksum of a member that is read at once differs.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            if self.size > WHOLE:
                return io.BufferedReader(_Span(descriptor, self), 256 * 1024)
            try:
                content = _read_all(descriptor, self)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise MediaError(f"{self}: cannot be read ({error.strerror or error})") from error
        if zlib.crc32(content) != self.checksum:
            raise MediaError(f"{self}: damaged; its checksum is not that of the index")
        return _Bytes(content, str(self))


def _read_all(descriptor: int, member: Member) -> bytes:
    content = os.pread(descriptor, member.size, member.offset)
    if len(content) != member.size:
        raise MediaError(f"{member}: truncated; the shard ends inside it")
    return content


class _Bytes(io.BytesIO):
    """Bytes with a name: FFmpeg uses the suffix where the content leaves doubt."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class _Span(io.RawIOBase):
    """A span of an open file as a file of its own, which closes the descriptor."""

    def __init__(self, descriptor: int, member: Member) -> None:
        super().__init__()
        self._descriptor, self._member, self._place = descriptor, member, 0
        self.name = str(member)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._member.size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        count = max(0, min(len(buffer), self._member.size - self._place))
        content = os.pread(self._descriptor, count, self._member.offset + self._place)
        if count and not content:
            raise MediaError(f"{self._member}: truncated; the shard ends inside it")
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):
                os.close(self._descriptor)
        super().close()


Source = Path | Member  # what a modality reads


def as_source(source: str | Source) -> Source:
    """Turn a file's name into a path."""
    return Path(source) if isinstance(source, str) else source


def open_source(source: Source) -> BinaryIO:
    """Open the bytes of a file or a member."""
    return source.open("rb") if isinstance(source, Path) else source.open()


def size_of(source: Source) -> int:
    """Return the size in bytes."""
    return source.stat().st_size if isinstance(source, Path) else source.size
