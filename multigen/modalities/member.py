"""A medium inside a larger file: what a shard holds, read where it lies. Nothing is unpacked to disk."""

from __future__ import annotations

import io
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from multigen.errors import MediaError

# Members up to this many bytes are read whole, and their checksum is compared.
WHOLE = 16 * 1024**2


@dataclass(frozen=True)
class Member:
    """`size` bytes from `offset` on in the file `path`; `checksum` is their CRC-32.

    `name` is what messages and formats go by; it is never a place on this disk.
    """

    path: Path
    name: str
    offset: int
    size: int
    checksum: int

    @property
    def suffix(self) -> str:
        """Of the name, with the dot."""
        return PurePosixPath(self.name).suffix

    def __str__(self) -> str:
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in self.name)
        return f"{self.path}/{shown}"

    def open(self) -> BinaryIO:
        """The bytes, from a file of their own that the caller closes: nothing is shared between processes.

        MediaError if the file is gone, ends too early or, where the member is read whole, holds other bytes.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            if self.size > WHOLE:
                return io.BufferedReader(_Part(descriptor, self), 256 * 1024)
            try:
                content = _exactly(descriptor, self)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise MediaError(f"{self}: cannot be read ({error.strerror or error})") from error
        if zlib.crc32(content) != self.checksum:
            raise MediaError(f"{self}: damaged; its checksum is not that of the index")
        return _Whole(content, str(self))


def _exactly(descriptor: int, member: Member) -> bytes:
    content = os.pread(descriptor, member.size, member.offset)
    if len(content) != member.size:
        raise MediaError(f"{member}: truncated; the shard ends inside it")
    return content


class _Whole(io.BytesIO):
    """Bytes with a name: FFmpeg looks at the suffix where the content leaves doubt."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class _Part(io.RawIOBase):
    """A span of an open file as a file of its own; the descriptor is ours to close."""

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


# What a modality reads: a file, or a member of one.
Source = Path | Member


def located(source: str | Source) -> Source:
    """A file's name as a path."""
    return Path(source) if isinstance(source, str) else source


def opened(source: Source) -> BinaryIO:
    """The bytes of a file or a member."""
    return source.open("rb") if isinstance(source, Path) else source.open()


def size_of(source: Source) -> int:
    """In bytes."""
    return source.stat().st_size if isinstance(source, Path) else source.size
