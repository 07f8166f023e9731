"""What was made, kept for a while: files in a folder or bucket, with a time to live and a bound on their size."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multigen.storage.bucket import Seen, is_address, open_bucket
from multigen.storage.files import remove_leftovers

_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,12}")
_SECRET = "key.secret"  # its name is too short for an id
_TIDY = 30.0  # s after which the place is listed again; a folder, too, where the bound may be reached
_LEFT = 0.95  # of the bound, where it was reached: not each file after that lists the folder
_FETCHED = 1 << 30  # bytes of files from a bucket that this machine keeps


class Store:
    """Records with their files. It survives a restart: what stands in the folder or bucket is found again.

    place   a folder, or the address of a bucket; several servers may share it. Each record is `<id>.json`, its files
            `<id>.<suffix>` beside it
    ttl     s for which a record is kept
    limit   bytes of all files; the oldest go first

    Names are made here; none that a client sends becomes a path. Methods may be called from any thread; they wait for
    the disk or the bucket. MultigenError if the place cannot be written to.
    """

    def __init__(self, place: Path | str, *, ttl: float = 24 * 3600, limit: int = 4 << 30) -> None:
        self.place, self.ttl, self.limit = place, ttl, limit
        if not is_address(place):
            Path(place).mkdir(parents=True, exist_ok=True, mode=0o700)
            remove_leftovers(Path(place))
        self._bucket = open_bucket(place, f"--store {place}")
        self._tidied, self._room = 0.0, 0  # bytes that may be written before the bound is reached
        self._key: bytes | None = None
        self._fetched: tempfile.TemporaryDirectory[str] | None = None

    def new_id(self, kind: str) -> str:
        """A name that nobody can guess, such as video_x3..."""
        return f"{kind}_{secrets.token_urlsafe(18)}"

    def id_of(self, kind: str, *parts: str) -> str:
        """The name that belongs to some texts: always the same, and as hard to guess."""
        said = hmac.new(self.secret(), json.dumps(parts).encode(), hashlib.sha256).digest()
        return f"{kind}_{base64.urlsafe_b64encode(said[:18]).decode('ascii')}"

    def secret(self) -> bytes:
        """32 bytes that all servers of this store share; made by the first."""
        if self._key is None:
            self._bucket.create(_SECRET, secrets.token_bytes(32))
            self._key = self._bucket.read(_SECRET)
        return self._key

    def put(self, name: str, record: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> None:
        """Keep a record, in place of an earlier one of that name, and more of its files: suffix -> content."""
        for suffix, content in (files or {}).items():
            self.note(name, suffix, content)
        self.note(name, ".json", _text(record))
        self.tidy()

    def create(self, name: str, record: Mapping[str, Any]) -> bool:
        """Keep a record of a name that is new; whether it was. Of several servers that try at once, one does."""
        return self._bucket.create(_path(name, ".json"), _text(record))

    def note(self, name: str, suffix: str, content: bytes) -> None:
        """Keep a file of a record, in place of an earlier one."""
        self._bucket.write(_path(name, suffix), content)
        self._room -= len(content)

    def claim(self, name: str, suffix: str, content: bytes) -> bool:
        """Keep a file that is not there yet; whether it was not. Of several servers that try at once, one does."""
        return self._bucket.create(_path(name, suffix), content)

    def get(self, name: str) -> dict[str, Any] | None:
        """A record; None if there is none, or its time is over."""
        if not _ID.fullmatch(name):
            return None
        seen = self._bucket.seen(_path(name, ".json"))
        if seen is None:
            return None
        if time.time() - seen.modified > self.ttl:
            self.delete(name)
            return None
        return self.data(name, ".json")

    def data(self, name: str, suffix: str) -> dict[str, Any] | None:
        """A file of a record that is a JSON object; None if there is none."""
        try:
            found = json.loads(self.read(name, suffix) or b"")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def read(self, name: str, suffix: str) -> bytes | None:
        """The content of one of a record's files; None if it is not there."""
        try:
            return self._bucket.read(_path(name, suffix)) if _ID.fullmatch(name) else None
        except FileNotFoundError:  # any other error says nothing of whether it is there
            return None

    def ages(self) -> dict[str, dict[str, float]]:
        """Seconds since each file was written: name -> suffix -> s."""
        now, found = time.time(), dict[str, dict[str, float]]()
        for row, seen in self._bucket.rows().items():
            name, dot, suffix = row.partition(".")
            if _ID.fullmatch(name):
                found.setdefault(name, {})[f"{dot}{suffix}"] = max(now - seen.modified, 0.0)
        return found

    def remove(self, name: str, suffix: str) -> None:
        """Drop one of a record's files, if it is there."""
        self._bucket.delete(_path(name, suffix))

    def file(self, name: str, suffix: str) -> Path | None:
        """One of a record's files on this machine, which of a bucket is a copy; None if it is not there."""
        if not _ID.fullmatch(name) or self.get(name) is None:
            return None
        if self._bucket.folder is None:
            return self._copy(_path(name, suffix))
        path = self._bucket.folder / _path(name, suffix)
        return path if path.is_file() else None

    def delete(self, name: str) -> bool:
        """Drop a record and its files; whether there was one."""
        return _ID.fullmatch(name) is not None and self._drop(name, self._bucket.rows())

    def _drop(self, name: str, there: Iterable[str]) -> bool:
        rows = [row for row in there if row.partition(".")[0] == name]
        for row in sorted(rows, key=lambda row: not row.endswith(".json")):
            self._bucket.delete(row)
        return f"{name}.json" in rows

    def names(self, kind: str) -> list[str]:
        """The records of a kind, the newest first."""
        rows = self._bucket.rows().items()
        found = [(seen.modified, row[:-5]) for row, seen in rows if _is_record(row, kind)]
        return [name for _, name in sorted(found, reverse=True)]

    def tidy(self) -> None:
        """Drop what is too old, and the oldest beyond the bound."""
        room = self._bucket.folder is None or self._room >= 0
        if room and time.monotonic() - self._tidied < _TIDY:
            return  # to list what is there takes long
        self._tidied = time.monotonic()
        rows = self._bucket.rows()
        ages, sizes = _by_name(rows)
        total, now = sum(sizes.values()), time.time()
        most = self.limit if total <= self.limit else int(_LEFT * self.limit)
        for name in sorted(ages, key=lambda n: ages[n]):
            if now - ages[name] <= self.ttl and total <= most:
                break
            total -= sizes[name]
            self._drop(name, rows)
        self._room = self.limit - total

    def _copy(self, name: str) -> Path | None:
        """A file of the bucket on this machine. What is written there is never changed, but for its record."""
        if self._fetched is None:
            self._fetched = tempfile.TemporaryDirectory(prefix="multigen-store-")
        folder = Path(self._fetched.name)
        path = folder / name
        if path.is_file():
            return path
        try:
            content = self._bucket.read(name)
        except FileNotFoundError:
            return None
        temporary = folder / f".{secrets.token_hex(8)}"
        temporary.write_bytes(content)
        temporary.replace(path)
        rows = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in folder.iterdir()), reverse=True)
        kept = 0
        for _, size, one in rows:
            kept += size
            if kept > _FETCHED and one != path:
                one.unlink(missing_ok=True)
        return path


def _by_name(rows: Mapping[str, Seen]) -> tuple[dict[str, float], dict[str, int]]:
    """The time of the last change, and the bytes, of each record with its files."""
    ages: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for row, seen in rows.items():
        name = row.partition(".")[0]
        if _ID.fullmatch(name):
            ages[name] = max(ages.get(name, 0.0), seen.modified)
            sizes[name] = sizes.get(name, 0) + seen.size
    return ages, sizes


def _is_record(row: str, kind: str) -> bool:
    return row.startswith(f"{kind}_") and row.endswith(".json") and _ID.fullmatch(row[:-5]) is not None


def _path(name: str, suffix: str) -> str:
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"{suffix!r} is no suffix")
    return f"{name}{suffix}"


def _text(record: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(record), indent=2, ensure_ascii=False).encode() + b"\n"
