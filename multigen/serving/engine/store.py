"""What was made, kept for a while: files in a folder, with a time to live and a bound on their size."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multigen.storage.files import atomic, remove_leftovers, write_json

_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


class Store:
    """Records with their files. It survives a restart: what stands in the folder is found again.

    folder  each record is `<id>.json`, its files `<id>.<suffix>` beside it
    ttl     s for which a record is kept
    limit   bytes of all files; the oldest go first

    Names are made here; none that a client sends becomes a path.
    """

    def __init__(self, folder: Path, *, ttl: float = 24 * 3600, limit: int = 4 << 30) -> None:
        self.folder, self.ttl, self.limit = folder, ttl, limit
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_leftovers(folder)

    def new_id(self, kind: str) -> str:
        """A name that nobody can guess, such as video_x3..."""
        return f"{kind}_{secrets.token_urlsafe(18)}"

    def put(self, name: str, record: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> None:
        """Keep a record, in place of an earlier one of that name, and more of its files: suffix -> content."""
        for suffix, content in (files or {}).items():
            with atomic(self._path(name, suffix)) as temporary:
                temporary.write_bytes(content)
        write_json(self._path(name, ".json"), dict(record))
        self.tidy()

    def get(self, name: str) -> dict[str, Any] | None:
        """A record; None if there is none, or its time is over."""
        if not _ID.fullmatch(name):
            return None
        path = self._path(name, ".json")
        try:
            if time.time() - path.stat().st_mtime > self.ttl:
                self.delete(name)
                return None
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def file(self, name: str, suffix: str) -> Path | None:
        """One of a record's files; None if it is not there."""
        if not _ID.fullmatch(name) or self.get(name) is None:
            return None
        path = self._path(name, suffix)
        return path if path.is_file() else None

    def delete(self, name: str) -> bool:
        """Drop a record and its files; whether there was one."""
        if not _ID.fullmatch(name):
            return False
        there = self._path(name, ".json").is_file()
        for path in self.folder.glob(f"{name}.*"):
            path.unlink(missing_ok=True)
        return there

    def names(self, kind: str) -> list[str]:
        """The records of a kind, the newest first."""
        rows = []
        for path in self.folder.glob(f"{kind}_*.json"):
            try:
                rows.append((path.stat().st_mtime, path.stem))
            except OSError:
                continue
        return [name for _, name in sorted(rows, reverse=True)]

    def tidy(self) -> None:
        """Drop what is too old, and the oldest beyond the bound."""
        ages: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for path in self.folder.iterdir():
            try:
                seen = path.stat()
            except OSError:
                continue
            name = path.name.partition(".")[0]
            if not name:  # a file that is being written
                continue
            ages[name] = max(ages.get(name, 0.0), seen.st_mtime)
            sizes[name] = sizes.get(name, 0) + seen.st_size
        total, now = sum(sizes.values()), time.time()
        for name in sorted(ages, key=lambda n: ages[n]):
            if now - ages[name] <= self.ttl and total <= self.limit:
                break
            total -= sizes[name]
            self.delete(name)

    def _path(self, name: str, suffix: str) -> Path:
        if not re.fullmatch(r"\.[a-z0-9]{1,8}", suffix):
            raise ValueError(f"{suffix!r} is no suffix")
        return self.folder / f"{name}{suffix}"
