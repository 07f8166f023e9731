"""Locks: one command at a time in a folder."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from multigen.errors import MultigenError, reason
from multigen.storage.files import alive, remove_leftovers

log = logging.getLogger(__name__)

LOCK = ".lock"
_READERS = 30  # s that readers of a killed training may take to notice; torch's check every 5 s


@contextmanager
def locked(folder: Path, *, stays: bool = True) -> Iterator[None]:
    """Lock a folder inside the block. It is created if missing, and then removed again if it is still empty.

    stays   keep the lock file, which contains the name of this machine, in the folder

    The system releases the lock of a process that died. If its readers hold the lock a little longer, this waits for
    them. Raises MultigenError if another command holds the lock, or the folder cannot be written to.
    """
    path = folder / LOCK
    lock = FileLock(path, timeout=0)
    try:
        made = new_folders(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path)
    except Timeout:
        holder = _holder(path)
        by = f" (process {holder['pid']} on {holder['host']}, since {holder['since']})" if holder else ""
        raise MultigenError(
            f"{folder}: another multigen command is running in this folder{by}. Choose another folder with --out."
        ) from None
    except OSError as error:
        raise MultigenError(
            f"{folder}: cannot be written to ({reason(error)}). Choose another folder."
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
            remove_empty(made)


def is_free(folder: Path) -> bool:
    """Whether nothing is in a folder, or no folder there: the lock of a command that was killed does not count."""
    return not folder.exists() or (folder.is_dir() and all(p.name == LOCK for p in folder.iterdir()))


def new_folders(folder: Path) -> list[Path]:
    """The folder and those above it that are not there yet, the innermost first; also one with a dead lock alone."""
    left = folder.is_dir() and [p.name for p in folder.iterdir()] == [LOCK]
    above = [p for p in folder.parents if not p.exists()]
    return [folder, *above] if left or not folder.exists() else []


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of the folders, from the first on, that are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # in use, or gone
            return


def _acquire(lock: FileLock, path: Path) -> None:
    """Acquire the lock, and record the holder in its file. Timeout if a living command holds it."""
    try:
        lock.acquire()
    except Timeout:
        holder = _holder(path)
        if holder is None or holder["host"] != platform.node() or alive(int(holder["pid"])):
            raise
        log.warning("%s: process %s has died; waiting for its readers to end", path.parent, holder["pid"])
        lock.acquire(timeout=_READERS)
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since})
    try:
        path.write_text(text, encoding="utf-8")  # not atomically: another file would be another lock
    except OSError:  # a full disk: the lock works without it
        log.debug("%s: could not be written", path)


def _holder(path: Path) -> dict[str, Any] | None:
    """Return the holder of the lock, if its file records one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"pid": int(found["pid"]), "host": str(found["host"]), "since": str(found["since"])}
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
