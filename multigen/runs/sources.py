"""The files that media are made from, kept in the result folder: one copy of each, however many media it has."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError, reason
from multigen.generation.request import Request
from multigen.generation.same import is_said
from multigen.storage.files import atomic, remove_leftovers, sha256

FOLDER = "sources"
_EDIT = ""  # of the medium that is edited, among names of options


class Sources:
    """The sources of requests, and what each is called in `folder`: by its own name, or that and its hash.

    media  options of the requests that name files of media; the other sources are what edits are made from

    A file that is there already with another content is not replaced. Tensors have no file, and are not kept.
    """

    def __init__(self, folder: Path, requests: Sequence[Request], media: Collection[str] = ()) -> None:
        self._folder, self._media = folder, media
        self._hashes: dict[Path, str] = {}
        self._names: dict[str, str] = {}  # of hashes
        for path in (path for request in requests for path in self._paths(request).values()):
            if path not in self._hashes:
                digest = self._hashes[path] = sha256(path)
                self._names.setdefault(digest, self._free(path, digest))

    def facts(self, request: Request) -> dict[str, Any]:
        """What a manifest records of the source of an edit: its name, its hash, its copy in the folder.

        The same of each option that names a medium is in "media".
        """
        rows = {name: self._row(path) for name, path in self._paths(request).items()}
        found = rows.pop(_EDIT, {})
        return {**found, "media": rows} if rows else found

    def _row(self, path: Path) -> dict[str, str]:
        digest = self._hashes[path]
        return {"source": path.name, "source_sha256": digest, "source_file": self._names[digest]}

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

    def _paths(self, request: Request) -> dict[str, Path]:
        """The files that a request names, by option; that of an edit under ""."""
        values = {name: value for name, value in request.options.items() if name in self._media}
        if request.edit is not None:
            values[_EDIT] = request.edit.media
        files = {
            name: value for name, value in values.items() if isinstance(value, str | Path) and is_said(value)
        }
        return {name: Path(value).expanduser() for name, value in files.items()}
