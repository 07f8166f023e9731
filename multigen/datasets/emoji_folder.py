"""A folder of emoji in several styles, as `multigen datasets fetch emoji` makes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from multigen.datasets.sprites import LARGEST, SIDE, Emoji
from multigen.errors import MultigenError, message, reason
from multigen.storage.cache_folder import cache_folder

_LARGEST = 16 << 20  # bytes of an index
_FILE = re.compile(r"[a-z0-9]+/[0-9a-f-]+\.(?:webp|png)")


def read_folder(path: str | None, styles: tuple[str, ...], *, large: bool = False) -> list[Emoji]:
    """The emoji of a folder (null: where it is fetched to) that have a picture in one of the `styles`, in its order.

    large  null is where the larger drawings are fetched to

    MultigenError if there is none, it is not such a folder, or does not know a style.
    """
    name = "emoji_large" if large else "emoji"
    folder = Path(path) if path is not None else cache_folder("datasets") / name
    index = _index(folder, name if path is None else None)
    try:
        known = tuple(index["styles"])
        for style in styles:
            if style not in known:
                raise MultigenError(message("data.styles", style, known))
        side = int(index.get("side", SIDE))
        if not SIDE <= side <= LARGEST:
            raise ValueError(f"side of {side} pixels")
        emoji = [_emoji(entry, folder, styles, side) for entry in index["emoji"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, MultigenError):
            raise
        raise MultigenError(f"data.path: {folder / 'index.json'} is no index of emoji ({error!r})") from error
    return [e for e in emoji if e is not None]


def _index(folder: Path, fetched: str | None) -> dict[str, Any]:
    path = folder / "index.json"
    try:
        if path.stat().st_size > _LARGEST:
            raise MultigenError(f"data.path: {path} is larger than {_LARGEST >> 20} MiB")
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = (
            f"get it with: multigen datasets fetch {fetched}" if fetched else "name a folder that was fetched"
        )
        raise MultigenError(f"data: there is no emoji folder at {folder}; {hint}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, MultigenError):
            raise
        raise MultigenError(f"data.path: {path} cannot be read: {reason(error)}") from error
    if not isinstance(index, dict) or index.get("format") != 1:
        raise MultigenError(f"data.path: {path} is no index of emoji of format 1")
    return index


def _emoji(entry: dict[str, Any], folder: Path, styles: tuple[str, ...], side: int) -> Emoji | None:
    """An entry with its pictures in the `styles`; None if it has none."""
    files = entry["files"]
    if any(not _FILE.fullmatch(file) for file in files.values()):
        raise ValueError(f"files of {entry['name']!r}")
    found = tuple((s, folder / files[s]) for s in styles if s in files)
    if not found:
        return None
    return Emoji(
        name=str(entry["name"]),
        others=tuple(map(str, entry["others"])),
        category=str(entry["category"]),
        group=str(entry["group"]),
        file=found[0][1],
        keywords=tuple(map(str, entry["keywords"])),
        files=found,
        hues=tuple((s, float(entry["hues"][s])) for s in styles if s in entry["hues"]),
        side=side,
    )
