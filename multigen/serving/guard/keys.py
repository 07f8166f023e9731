"""Keys: a file of their hashes, scopes and budgets. A key itself is shown once, when it is made.

A key holds 256 random bits, so that a plain SHA-256 of it cannot be searched: slow hashes are for what people choose.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from multigen.errors import MultigenError, message
from multigen.serving.guard.budgets import Budget
from multigen.storage.files import atomic

SCOPES = ("generate", "read", "metrics")
DEFAULT_SCOPES = ("generate", "read")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_PREFIX = "mg_"


@dataclass(frozen=True)
class Key:
    """A key as the file holds it.

    hash                 SHA-256 of the key, hex
    scopes               of `SCOPES`: generate makes and deletes media, read looks at them, metrics reads /metrics
    requests_per_minute  None: no bound; units_per_minute likewise
    max_priority         the highest that its requests may ask for: they begin before those of all other keys
    created              s since 1970
    """

    name: str
    hash: str
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    requests_per_minute: float | None = None
    units_per_minute: float | None = None
    max_priority: int = 0
    created: int = 0


def read_keys(path: Path) -> list[Key]:
    """The keys of a file. MultigenError if it cannot be read or is not such a file."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["keys"]
        return [Key(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
    except FileNotFoundError:
        raise MultigenError(
            f"--keys {path}: there is no such file; make it with: multigen serve keys add {path} NAME"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MultigenError(f"--keys {path}: this is not a file of keys ({error})") from None


def add_key(
    path: Path,
    name: str,
    scopes: Sequence[str] = DEFAULT_SCOPES,
    *,
    requests_per_minute: float | None = None,
    units_per_minute: float | None = None,
    max_priority: int = 0,
) -> str:
    """Make a key and return it; the file keeps its hash alone. MultigenError for a name that is there already."""
    if not _NAME.fullmatch(name):
        raise MultigenError(
            f"NAME: {name!r} is not allowed; give 1 to 64 of A-Z, a-z, 0-9, '.', '_', '@', '-'"
        )
    for scope in scopes:
        if scope not in SCOPES:
            raise MultigenError(message("--scope", scope, SCOPES))
    secret = _PREFIX + secrets.token_urlsafe(32)
    made = Key(
        name,
        _hash(secret),
        tuple(scopes),
        requests_per_minute,
        units_per_minute,
        max_priority,
        created=int(time.time()),
    )
    with _locked(path):
        there = read_keys(path) if path.exists() else []
        if any(key.name == name for key in there):
            raise MultigenError(f"NAME: {path} has a key {name!r} already; revoke it first")
        _write(path, [*there, made])
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Drop a key. A running server refuses it within a second. MultigenError if there is none of that name."""
    with _locked(path):
        there = read_keys(path)
        if all(key.name != name for key in there):
            raise MultigenError(message("NAME", name, [key.name for key in there]))
        _write(path, [key for key in there if key.name != name])


class Keys:
    """The keys of a file while a server runs. What is added or revoked meanwhile counts after a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys = read_keys(path)
        self._seen, self._checked = self._stamp(), time.monotonic()
        self._budgets: dict[str, tuple[Key, Budget]] = {}

    def find(self, secret: str) -> tuple[Key, Budget] | None:
        """The key that a client sent, and what it may still use; None if it is none. In constant time."""
        self._refresh()
        given, found = _hash(secret), None
        for key in self._keys:
            if hmac.compare_digest(key.hash, given):
                found = key
        if found is None:
            return None
        known = self._budgets.get(found.name)
        if known is None or known[0] != found:
            known = self._budgets[found.name] = (
                found,
                Budget(found.requests_per_minute, found.units_per_minute),
            )
        return known

    def _refresh(self) -> None:
        if time.monotonic() - self._checked < 1:
            return
        self._checked = time.monotonic()
        stamp = self._stamp()
        if stamp != self._seen:
            # A file that cannot be read any more lets nobody in.
            try:
                self._keys = read_keys(self.path)
            except MultigenError:
                self._keys = []
            self._seen = stamp
            self._budgets = {k.name: self._budgets[k.name] for k in self._keys if k.name in self._budgets}

    def _stamp(self) -> tuple[int, int] | None:
        try:
            seen = self.path.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_ino


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key in a request's headers; None without one."""
    kind, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" and secret.strip() else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _locked(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{path}.lock")


def _write(path: Path, keys: Sequence[Key]) -> None:
    rows: list[dict[str, Any]] = [asdict(key) for key in keys]
    with atomic(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"keys": rows}, indent=2) + "\n", encoding="utf-8")
    os.chmod(path, 0o600)
