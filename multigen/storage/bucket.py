"""Where files are kept that several machines may share: a folder, or a bucket by its address (s3://, memory:// ...).

Both are used alike: whole files by name. fsspec knows the addresses.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from multigen.errors import MultigenError, reason
from multigen.storage.packages import install

_TEMPORARY = ".part-"
_LEFT = 3600.0  # s after which a temporary file belongs to a process that is gone
# What file systems call the time of the last change.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_EXTRAS = {"s3": "s3", "s3a": "s3"}


class Seen(NamedTuple):
    """Bytes of a file, and the time of its last change in s since 1970."""

    size: int
    modified: float


class Bucket(Protocol):
    """Files by their names, which may contain /. OSError for what cannot be read or written."""

    @property
    def where(self) -> str:
        """Its address, for messages."""
        ...

    @property
    def folder(self) -> Path | None:
        """Its folder on this machine, if it is one."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a file. FileNotFoundError if there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of an earlier one: whole, or not at all."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that is not there yet; whether it was not. Of several who try at once, one does."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        ...

    def seen(self, name: str) -> Seen | None:
        """What is known of a file; None if there is none."""
        ...

    def rows(self, prefix: str = "") -> dict[str, Seen]:
        """The files of one level, by name: "media/" for those in media/."""
        ...


class Folder:
    """A folder. Temporary files have names of their own, so that machines which share it do not meet in them."""

    def __init__(self, folder: Path, where: str = "") -> None:
        """`where`: its address, where that is not its path."""
        self._folder, self._where = folder, where or str(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _LEFT:
                    path.unlink()

    @property
    def where(self) -> str:
        """Its address."""
        return self._where

    @property
    def folder(self) -> Path:
        """Its path."""
        return self._folder

    def read(self, name: str) -> bytes:
        """The content of a file. FileNotFoundError if there is none."""
        return self._path(name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of an earlier one: whole, or not at all."""
        temporary = self._written(content)
        try:
            os.replace(temporary, self._path(name))
        finally:
            temporary.unlink(missing_ok=True)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that is not there yet; whether it was not. Of several who try at once, one does."""
        temporary = self._written(content)
        try:
            os.link(temporary, self._path(name))  # unlike a rename, it replaces nothing
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return self._opened(name, content)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        self._path(name).unlink(missing_ok=True)

    def seen(self, name: str) -> Seen | None:
        """What is known of a file; None if there is none."""
        try:
            found = self._path(name).stat()
        except OSError:
            return None
        return Seen(found.st_size, found.st_mtime)

    def rows(self, prefix: str = "") -> dict[str, Seen]:
        """The files of one level, by name."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._folder / prefix):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if entry.is_file() and not entry.name.startswith(_TEMPORARY):
                        about = entry.stat()
                        found[f"{prefix}{entry.name}"] = Seen(about.st_size, about.st_mtime)
        return found

    def _path(self, name: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _opened(self, name: str, content: bytes) -> bool:
        try:
            with self._path(name).open("xb") as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def _written(self, content: bytes) -> Path:
        temporary = self._folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary


class Remote:
    """A bucket that fsspec knows."""

    def __init__(self, files: fsspec.AbstractFileSystem, root: str, where: str) -> None:
        self._files, self._root, self._where = files, root.rstrip("/"), where

    @property
    def where(self) -> str:
        """Its address."""
        return self._where

    @property
    def folder(self) -> None:
        """None: it is not on this machine."""
        return None

    def read(self, name: str) -> bytes:
        """The content of a file. FileNotFoundError if there is none."""
        found = self._files.cat_file(self._path(name))
        return found.encode() if isinstance(found, str) else found

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of an earlier one: object stores show it whole or not at all."""
        self._files.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that is not there yet; whether it was not. Of several who try at once, one does."""
        try:
            self._files.pipe_file(self._path(name), content, mode="create")
        except FileExistsError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def seen(self, name: str) -> Seen | None:
        """What is known of a file; None if there is none."""
        try:
            return _seen(self._files.info(self._path(name)))
        except FileNotFoundError:
            return None

    def rows(self, prefix: str = "") -> dict[str, Seen]:
        """The files of one level, by name."""
        try:
            found = self._files.ls(self._path(prefix).rstrip("/"), detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        files = [one for one in found if one["type"] == "file"]
        return {f"{prefix}{one['name'].rpartition('/')[2]}": _seen(one) for one in files}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def is_address(text: str | Path) -> bool:
    """Whether a text is the address of a bucket, and no path."""
    return isinstance(text, str) and "://" in text


def check_address(text: str, where: str) -> None:
    """MultigenError for an address that fsspec does not know, or whose package is missing. Nothing is asked of it."""
    _files(text, where)


def open_bucket(place: str | Path, where: str = "") -> Bucket:
    """A folder, which is created if missing, or a bucket.

    MultigenError, with `where` in front, if it cannot be written to.
    """
    where = where or str(place)
    try:
        if not is_address(place):
            return Folder(Path(place))
        files, root = _files(str(place), where)
        if isinstance(files, LocalFileSystem):  # file://, of which fsspec replaces what others have just made
            return Folder(Path(root), str(place))
        found = Remote(files, root, str(place))
        probe = f"{_TEMPORARY}{secrets.token_hex(8)}"
        found.write(probe, b"")
        found.delete(probe)
        return found
    except MultigenError:
        raise
    except Exception as error:  # of whatever package speaks to the bucket
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise MultigenError(f"{where}: cannot be written to ({said})") from error


def _files(address: str, where: str) -> tuple[fsspec.AbstractFileSystem, str]:
    scheme = address.partition("://")[0].split("::")[0]
    try:
        # Others write there, too: what was listed before is not what is there now.
        return url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        how = str(error) if extra is None else install(extra)
        raise MultigenError(f"{where}: {scheme}:// needs a package that is missing: {how}") from None
    except ValueError as error:
        raise MultigenError(f"{where}: {error}") from None


def _seen(about: Mapping[str, Any]) -> Seen:
    found = next((about[name] for name in _TIMES if about.get(name) is not None), 0.0)
    when = found.timestamp() if isinstance(found, datetime) else float(found)
    return Seen(int(about["size"] or 0), when)
