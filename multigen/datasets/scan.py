"""Which media a folder of the user's holds, and what their headers say."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multigen.errors import MediaError, RecipeError
from multigen.modalities import Info, Modality
from multigen.storage.cache_folder import cache_folder
from multigen.storage.files import write_json

METADATA = "metadata.jsonl"
# Headers are small reads that mostly wait for the disk.
_READERS = 8
_CACHE_VERSION = 1


@dataclass
class Listing:
    """What lies below `root`, sorted: media, side texts, metadata files, folders that cannot be entered, the rest."""

    root: Path
    media: list[Path] = field(default_factory=list)
    texts: set[Path] = field(default_factory=set)
    metadata: list[Path] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)  # path -> why
    others: Counter[str] = field(default_factory=Counter)  # suffix -> files

    def name(self, path: Path) -> str:
        """A path below the root as items, splits and caches call it: forward slashes, always valid Unicode."""
        return os.fsencode(path.relative_to(self.root).as_posix()).decode("utf-8", "backslashreplace")


def find_folder(path: str | None, example: str) -> Path:
    """The folder that a recipe's `data.path` names, absolute; RecipeError says what is wrong and what is near.

    `example` shows how to give a path where there is none.
    """
    if not path:
        raise RecipeError(f"data.path: say where your files are, e.g. {example}")
    folder = Path(os.path.abspath(Path(path).expanduser()))
    if folder.is_dir():
        return folder
    if folder.exists():
        raise RecipeError(f"data.path: {folder} is a file; give the folder that holds it")
    parent = folder.parent
    while not parent.is_dir():
        folder, parent = parent, parent.parent
    inside = sorted(e.name for e in os.scandir(parent) if e.is_dir() and not e.name.startswith("."))
    near = difflib.get_close_matches(folder.name, inside, n=1, cutoff=0.5)
    hint = f" Did you mean {str(parent / near[0])!r}?" if near else f" {parent} exists."
    raise RecipeError(f"data.path: {path!r} is not there: there is no folder {folder}.{hint}")


def walk(root: Path, suffixes: Sequence[str]) -> Listing:
    """Everything below `root`, without hidden files and folders; links are followed, each folder is entered once."""
    found = Listing(root)
    entered: set[tuple[int, int]] = set()

    def closed(error: OSError) -> None:
        found.closed[str(error.filename)] = (
            f"{error.filename}: the folder cannot be opened ({error.strerror})"
        )

    for folder, inside, files in os.walk(root, followlinks=True, onerror=closed):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:  # a link that leads back
            inside.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        inside[:] = sorted(d for d in inside if not d.startswith(".") and d != "__MACOSX")
        for name in files:
            path = Path(folder, name)
            suffix = path.suffix.lower()
            if name.startswith("."):
                continue
            if name == METADATA:
                found.metadata.append(path)
            elif suffix in suffixes:
                found.media.append(path)
            elif suffix == ".txt":
                found.texts.add(path)
            else:
                found.others[suffix or "(none)"] += 1
    found.media.sort(key=found.name)
    found.metadata.sort()
    return found


def refuse_empty(found: Listing, modality: Modality) -> None:
    """RecipeError if there is no file of this modality: what was looked for, and what is there instead."""
    if found.media:
        return
    others = found.others + Counter({".txt": len(found.texts)} if found.texts else {})
    there = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5)) or "nothing"
    raise RecipeError(
        f"data.path: no {modality.name} files in {found.root} or below. Looked for: {' '.join(modality.suffixes)}. "
        f"Found: {there}."
    )


def headers(found: Listing, modality: Modality) -> tuple[dict[Path, Info], dict[str, str]]:
    """Info of every readable file, and why the others are not (path -> reason).

    Readable headers are remembered between runs by (path, size, time of change), so that only new files are opened.
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
    """What was remembered; nothing where the file is missing or is not what we wrote."""
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
    except OSError:  # a full or read-only disk costs the next start some seconds, nothing else
        return
