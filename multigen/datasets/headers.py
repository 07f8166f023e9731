"""What the headers of a folder's media say, remembered between runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from multigen.datasets.scan import Listing
from multigen.errors import MediaError
from multigen.modalities import Info, Modality
from multigen.storage.cache_folder import cache_folder
from multigen.storage.files import write_json

_READERS = 8  # threads: headers are small reads that mostly wait for the disk
_CACHE_VERSION = 2


def headers(found: Listing, modality: Modality) -> tuple[dict[Path, Info], dict[str, str]]:
    """Info of every readable file, and why the others cannot be read (path -> reason).

    Readable headers are remembered by (path, size, time of change), so that only new files are opened.
    """
    store = _store(found.root, modality)
    known = _load(store)
    names = {path: found.name(path) for path in found.media}

    def header(path: Path) -> tuple[list[Any] | None, str]:
        try:
            status = path.stat()
            row = known.get(names[path])
            if row is not None and row[:2] == [status.st_size, status.st_mtime_ns]:
                return row, ""
            info = modality.info(path)
        except OSError as error:
            return None, f"{path}: {error.strerror or error}"
        except MediaError as error:
            return None, str(error)
        return [status.st_size, status.st_mtime_ns, dataclasses.asdict(info)], ""

    with ThreadPoolExecutor(_READERS) as pool:
        answers = dict(zip(found.media, pool.map(header, found.media), strict=True))
    rows = {names[path]: row for path, (row, _) in answers.items() if row is not None}
    if rows != known:
        _save(store, rows)
    infos = {path: Info(**row[2]) for path, (row, _) in answers.items() if row is not None}
    return infos, {str(path): why for path, (row, why) in answers.items() if row is None}


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
