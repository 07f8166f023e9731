"""Claims: the folder of one command, which appears when there is something to keep in it."""

from __future__ import annotations

import getpass
import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from multigen.errors import MultigenError, reason
from multigen.storage.lock import is_free, locked


class Claim:
    """A folder that only this command writes to.

    While it does not exist, another command of this machine that wants the same folder is kept off by a lock in the
    system's folder for temporary files. From `keep` on the folder is there, and locked as by `locked`.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack, self._kept = folder, stack, False

    def keep(self) -> None:
        """Create the folder, if that is still to do. MultigenError if another command has it."""
        if not self._kept:
            self._stack.enter_context(locked(self.folder))
            self._kept = True


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Claim a folder inside the block. MultigenError if another command has it, or if it cannot be written to."""
    check_folder(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(_place(folder))
        except Timeout:
            raise MultigenError(
                f"{folder}: another multigen command is about to write here. Choose another folder with --out."
            ) from None
        claim = Claim(folder, stack)
        if folder.exists():
            claim.keep()
        yield claim


@contextmanager
def claimed_new(base: Path) -> Iterator[Claim]:
    """Claim base-1, or base-2 and so on inside the block: the first that is free, so that no two commands share one."""
    check_folder(base)
    with ExitStack() as stack:
        yield next(_free(base, stack))


def _free(base: Path, stack: ExitStack) -> Iterator[Claim]:
    """Claims of the folders base-1, base-2 and so on that are free."""
    for k in itertools.count(1):
        folder = base.with_name(f"{base.name}-{k}")
        lock = _place(folder)
        try:
            lock.acquire()
        except Timeout:
            continue
        if is_free(folder):
            stack.callback(lock.release)
            yield Claim(folder, stack)
        lock.release()


def check_folder(folder: Path, where: str = "") -> None:
    """MultigenError if there cannot be a folder that we write to at a path; `where` names it in the message."""
    where = where or str(folder)
    try:
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists() or p.is_symlink())
        if there.is_dir():
            if not os.access(there, os.W_OK | os.X_OK):
                raise MultigenError(f"{where}: {there} cannot be written to. Choose another folder.")
            return
    except OSError as error:
        raise MultigenError(
            f"{where}: cannot be written to ({reason(error)}). Choose another folder."
        ) from None
    what = "is a file" if there.is_file() else "is no folder"
    at = "it" if there == folder else str(there)
    raise MultigenError(f"{where}: cannot be written to: {at} {what}; give a folder")


def _place(folder: Path) -> FileLock:
    """The lock of a folder that may not exist, among this user's temporary files."""
    user = getpass.getuser() if os.name != "posix" else str(os.getuid())
    place = Path(tempfile.gettempdir(), f"multigen-locks-{user}")
    place.mkdir(mode=0o700, exist_ok=True)
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return FileLock(place / f"{name}.lock", timeout=0)
