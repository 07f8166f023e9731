"""A bucket as the place of media: they are made in a folder of this machine, and sent from there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multigen.recipe.manifest import FILE as MANIFEST
from multigen.storage.bucket import Bucket, is_address, open_bucket
from multigen.storage.cache_folder import cache_folder
from multigen.storage.lock import locked


class Outbox:
    """The folder of a command's media, and the bucket that they go to; None where the folder is their place.

    folder   where they are made; None: the command chooses
    address  of the bucket
    """

    def __init__(self, folder: Path | None, bucket: Bucket | None = None) -> None:
        self.folder, self._bucket = folder, bucket
        self._sent: dict[str, tuple[int, int]] = {}

    @property
    def address(self) -> str | None:
        """The address of the bucket."""
        return None if self._bucket is None else self._bucket.where

    def push(self) -> None:
        """Send what is new, the manifest last: it lists nothing that is not there."""
        if self._bucket is None or self.folder is None:
            return
        names = [p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()]
        shown = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
        for name in sorted(shown, key=lambda name: (name == MANIFEST, name)):
            path = self.folder / name
            about = _about(path)
            if self._sent.get(name) != about:
                self._bucket.write(name, path.read_bytes())
                self._sent[name] = about

    def pull(self) -> None:
        """Fetch the manifest and the media of the bucket, as far as they are not here."""
        if self._bucket is None or self.folder is None:
            return
        try:
            manifest = self._bucket.read(MANIFEST)
        except FileNotFoundError:
            shutil.rmtree(self.folder, ignore_errors=True)  # of a bucket that has been emptied since
            return
        self._fetched(MANIFEST, manifest)
        listed = {one["file"]: one["bytes"] for one in json.loads(manifest).get("files", [])}
        for name, seen in self._bucket.rows("media/").items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != listed.get(name, seen.size):
                self._fetched(name, self._bucket.read(name))

    def _fetched(self, name: str, content: bytes) -> None:
        assert self.folder is not None
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._sent[name] = _about(path)


@contextmanager
def outbox(out: Path | str | None) -> Iterator[Outbox]:
    """The place of a command's media: of a bucket, what is there is fetched; its folder here goes when all is sent.

    MultigenError for a bucket that cannot be written to, or that another command of this machine writes to.
    """
    if out is None or not is_address(out):
        yield Outbox(None if out is None else Path(out))
        return
    bucket = open_bucket(out, f"--out {out}")
    base = cache_folder("outbox") / hashlib.sha256(str(out).encode()).hexdigest()[:24]
    with locked(base):
        box = Outbox(base / "files", bucket)
        box.pull()
        yield box
        box.push()
        shutil.rmtree(base / "files", ignore_errors=True)


def _about(path: Path) -> tuple[int, int]:
    seen = path.stat()
    return seen.st_size, seen.st_mtime_ns
