"""Captions of the user's files: from metadata, from .txt files beside them, from names of files or folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from multigen.datasets.metadata import Metadata, clean
from multigen.datasets.names import Names
from multigen.datasets.scan import CAPTIONS, METADATA, TABLE, Listing
from multigen.errors import RecipeError

Captions = Literal["auto", "metadata", "txt", "name", "none"]
_MAX_TEXT = 64 * 1024  # bytes of a .txt


def captions_of(
    found: Listing, metadata: Metadata, how: Captions, classes: Mapping[Path, str]
) -> dict[Path, tuple[str, ...]]:
    """Alternative captions of each file, at least one; "" if there is none.

    "auto" takes the metadata, else the text beside the file (a.txt, a.jpg.txt, a.caption, a.jpg.caption, in any case),
    else the name of the class (`classes`). The name of a file is used only on request ("name"), since names such as
    IMG_2041 say nothing. RecipeError if the requested source has no caption for any file.
    """
    if how == "metadata" and not any(row.texts for row in metadata.rows.values()):
        raise RecipeError(
            f'data.captions: metadata, but no {METADATA} or {TABLE} in {found.root} gives a "text" for any file'
        )
    beside = _beside(found)
    if how == "txt" and not beside:
        raise RecipeError(
            f"data.captions: txt, but no file in {found.root} has a .txt of the same name beside it"
        )

    def texts(path: Path) -> list[str]:
        if how == "name":
            return [from_name(path)]
        if how in ("auto", "metadata") and path in metadata.rows and metadata.rows[path].texts:
            return metadata.rows[path].texts
        if how in ("auto", "txt") and path in beside:
            return side_text(beside[path])
        return [classes[path]] if how == "auto" and path in classes else []

    return {path: tuple(texts(path)) or ("",) for path in found.media}


def _beside(found: Listing) -> dict[Path, Path]:
    """The text beside each file that has one."""
    names = Names(found.texts)
    exact = {s for p in found.media for s in _sides(p) if s in found.texts}
    out: dict[Path, Path] = {}
    for path in found.media:
        sides = [names.find(side) for side in _sides(path)]
        # A text whose name is exactly that of another file belongs to that one.
        mine = [s for side, s in zip(_sides(path), sides, strict=True) if s and (s == side or s not in exact)]
        if mine:
            out[path] = mine[0]
    return out


def _sides(path: Path) -> list[Path]:
    """Where the text of a file may lie."""
    return [p for s in CAPTIONS for p in (path.with_suffix(s), path.with_name(path.name + s))]


def side_text(path: Path) -> list[str]:
    """The lines of a .txt, each an alternative caption. RecipeError if it is not UTF-8 text or is too long."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_TEXT + 1)
        if len(content) > _MAX_TEXT:
            raise RecipeError(f"{path}: more than {_MAX_TEXT:,} bytes, which is too long for a caption")
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    return [line for line in (clean(raw, str(path)) for raw in text.splitlines()) if line]


def from_name(path: Path) -> str:
    """A caption from a file's name, without a counter at its end: `red_apple-02.png` -> "red apple"."""
    words = re.sub(r"[\s_\-.]+", " ", path.stem).strip()
    return re.sub(r"\s*(\(\d+\)|\b\d+)$", "", words).strip()
