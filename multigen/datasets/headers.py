"""What the headers of a folder's media say, remembered between runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multigen.datasets.decoding import infos
from multigen.datasets.scan import Listing
from multigen.errors import MediaError
from multigen.modalities import Info, Modality
from multigen.modalities.guard import Guard
from multigen.storage.cache_folder import cache_folder
from multigen.storage.files import write_json

_TOGETHER = 64  # files whose headers are asked for at once
_CACHE_VERSION = 2


def headers(found: Listing, modality: Modality, guard: Guard) -> tuple[dict[Path, Info], dict[str, str]]:
    """Info of every readable file, and why the others cannot be read (path -> reason).

    Readable headers are remembered by (path, size, time of change), so that only new files are opened.
    """
    store = _store(found.root, modality)
    known = _load(store)
    rows: dict[Path, list[Any]] = {}
    unknown: dict[Path, list[int]] = {}
    bad: dict[Path, str] = {}
    for path in found.media:
        try:
            status = path.stat()
        except OSError as error:
            bad[path] = f"{path}: {error.strerror or error}"
            continue
        row, stamp = known.get(found.name(path)), [status.st_size, status.st_mtime_ns]
        if row is not None and row[:2] == stamp:
            rows[path] = row
        else:
            unknown[path] = stamp
    for path, info in _opened(list(unknown), modality, guard):
        if isinstance(info, str):
            bad[path] = info
        else:
            rows[path] = [*unknown[path], dataclasses.asdict(info)]
    named = {found.name(path): row for path, row in rows.items()}
    if named != known:
        _save(store, named)
    there = {path: Info(**rows[path][2]) for path in found.media if path in rows}
    return there, {str(path): bad[path] for path in found.media if path in bad}


def _opened(paths: list[Path], modality: Modality, guard: Guard) -> Iterator[tuple[Path, Info | str]]:
    """The headers of files, several at a time; one by one where a decoder crashes on one of them."""
    for begin in range(0, len(paths), _TOGETHER):
        some = paths[begin : begin + _TOGETHER]
        try:
            yield from zip(some, guard(some[0], infos, modality, some), strict=True)
        except MediaError:
            for path in some:
                try:
                    yield path, guard(path, infos, modality, [path])[0]
                except MediaError as error:
                    yield path, str(error)


def _store(root: Path, modality: Modality) -> Path:
    key = hashlib.blake2b(f"{_CACHE_VERSION}\n{modality.name}\n".encode() + os.fsencode(root), digest_size=12)
    return cache_folder("headers") / f"{key.hexdigest()}.json"


def _load(store: Path) -> dict[str, list[Any]]:
    """The remembered headers; empty if the file is missing or has another form."""
    try:
        rows = json.loads(store.read_text(encoding="utf-8"))
        for _, _, info in rows.values():
            Info(**info)
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return rows


def _save(store: Path, rows: dict[str, list[Any]]) -> None:
    try:
        write_json(store, rows)
    except OSError:  # on a full or read-only disk the next start takes some seconds longer, nothing else
        return
