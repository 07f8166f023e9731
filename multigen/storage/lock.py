"""One command at a time in a folder."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from multigen.errors import MultigenError
from multigen.storage.files import alive, remove_leftovers

log = logging.getLogger(__name__)

LOCK = ".lock"
# How long the readers of a killed training may take to notice that it is gone, in s; torch's look every 5 s.
_READERS = 30


@contextmanager
def locked(folder: Path, *, stays: bool = True) -> Iterator[None]:
    """One command at a time in a folder, made if missing and removed again if nothing came of it.

    The system frees the lock of a process that died; where that process's readers hold it a little longer, they are
    waited for. `stays`: the lock's file, which names this machine, stays in the folder.
    """
    path = folder / LOCK
    lock = FileLock(path, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path)
    except Timeout:
        holder = _holder(path)
        by = f" (process {holder['pid']} on {holder['host']}, since {holder['since']})" if holder else ""
        raise MultigenError(
            f"{folder}: another multigen command is running in this folder{by}; use --out"
        ) from None
    except OSError as error:
        raise MultigenError(
            f"{folder}: cannot be written to ({error.strerror or error}); use --out"
        ) from error
    try:
        remove_leftovers(folder)
        yield
    finally:
        empty = folder.is_dir() and [p.name for p in folder.iterdir()] == [LOCK]
        if empty or not stays:
            path.unlink(missing_ok=True)
        lock.release()
        if empty:
            folder.rmdir()


def _acquire(lock: FileLock, path: Path) -> None:
    """Take the lock, and leave in its file who has it. Timeout if a living command has it."""
    try:
        lock.acquire()
    except Timeout:
        holder = _holder(path)
        if holder is None or holder["host"] != platform.node() or alive(int(holder["pid"])):
            raise
        log.warning("%s: process %s is gone; waiting for its readers to end", path.parent, holder["pid"])
        lock.acquire(timeout=_READERS)
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since})
    try:
        path.write_text(text, encoding="utf-8")  # the file itself: another in its place would be another lock
    except OSError:  # a full disk: the lock holds without
        log.debug("%s: could not be written", path)


def _holder(path: Path) -> dict[str, Any] | None:
    """Who took the lock, as far as its file says."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"pid": int(found["pid"]), "host": str(found["host"]), "since": str(found["since"])}
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
