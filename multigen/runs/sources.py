"""The files that edits are made from, kept in the result folder: one copy of each, however many edits it has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError, reason
from multigen.generation.request import Request
from multigen.storage.files import atomic, remove_leftovers, sha256

FOLDER = "sources"


class Sources:
    """The sources of requests, and what each is called in `folder`: by its own name, or that and its hash.

    A file that is there already with another content is not replaced. Tensors have no file, and are not kept.
    """

    def __init__(self, folder: Path, requests: Sequence[Request]) -> None:
        self._folder = folder
        self._hashes: dict[Path, str] = {}
        self._names: dict[str, str] = {}  # of hashes
        for path in _paths(requests):
            if path not in self._hashes:
                digest = self._hashes[path] = sha256(path)
                self._names.setdefault(digest, self._free(path, digest))

    def facts(self, request: Request) -> dict[str, Any]:
        """What a manifest records of the source of an edit: its name, its hash, its copy in the folder."""
        found = {}
        for path in _paths([request]):
            digest = self._hashes[path]
            found = {"source": path.name, "source_sha256": digest, "source_file": self._names[digest]}
        return found

    def copy(self) -> None:
        """Write the copies that are not there yet. MultigenError if one cannot be written."""
        remove_leftovers(self._folder / FOLDER)
        for path, digest in self._hashes.items():
            target = self._folder / self._names[digest]
            if target.is_file():
                continue
            try:
                with atomic(target) as temporary:
                    shutil.copyfile(path, temporary)
            except OSError as error:
                raise MultigenError(f"{target}: could not be written ({reason(error)})") from error

    def _free(self, path: Path, digest: str) -> str:
        """A path in the folder that is free, or holds the same content."""
        for name in (path.name, f"{path.stem}-{digest[:8]}{path.suffix}", f"{digest}{path.suffix}"):
            there, place = self._folder / FOLDER / name, f"{FOLDER}/{name}"
            if place not in self._names.values() and (not there.is_file() or sha256(there) == digest):
                return place
        raise MultigenError(f"{self._folder / FOLDER}: other files are there under the name of {path}")


def _paths(requests: Sequence[Request]) -> Iterator[Path]:
    for request in requests:
        if request.edit is not None and isinstance(request.edit.media, str | Path):
            yield Path(request.edit.media)
