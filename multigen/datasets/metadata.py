"""metadata.jsonl: captions and labels of the user's files.

It follows the Hugging Face `imagefolder` convention: one JSON object per line with `file_name`, relative to the folder
of the metadata.jsonl, and `text` (one caption, or a list of alternatives), `label`, or both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from multigen.datasets.scan import Listing, read_text
from multigen.errors import RecipeError


@dataclass
class Row:
    """What metadata.jsonl says about one file; several lines add up to alternative captions."""

    texts: list[str] = field(default_factory=list)
    label: str | int | None = None


@dataclass
class Metadata:
    """Rows by file, and the files that lines name but that are not there (path -> reason)."""

    rows: dict[Path, Row] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def read_metadata(found: Listing) -> Metadata:
    """Every metadata.jsonl below the root. RecipeError names file and line of a fault."""
    out = Metadata()
    media = set(found.media)
    for source in found.metadata:
        # Not splitlines: JSON text may hold Unicode's other line separators.
        for number, line in enumerate(read_text(source).split("\n"), start=1):
            if line.strip():
                _add(out, source, f"{source}, line {number}", line, media)
    return out


def _add(out: Metadata, source: Path, where: str, line: str, media: set[Path]) -> None:
    """Add one line; `where` names it in errors."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        keys = ", ".join(map(repr, row)) if isinstance(row, dict) else type(row).__name__
        raise RecipeError(f'{where}: no "file_name" with the name of a file. Found: {keys or "nothing"}.')
    path = _inside(source.parent, row["file_name"], where)
    texts, label = _texts(row.get("text"), where), row.get("label")
    if label is not None and (isinstance(label, bool) or not isinstance(label, str | int)):
        raise RecipeError(f"{where}: label {label!r} is not allowed. Allowed: a name or a whole number.")
    if path not in media:
        why = "not a file of this kind" if path.is_file() else "no such file"
        out.missing[str(path)] = f"{path}: {why} ({where})"
        return
    kept = out.rows.setdefault(path, Row())
    if kept.label is not None and label is not None and kept.label != label:
        raise RecipeError(
            f"{where}: label {label!r}, but an earlier line gives the same file the label {kept.label!r}"
        )
    kept.label = label if label is not None else kept.label
    kept.texts += texts


def _inside(folder: Path, name: str, where: str) -> Path:
    """`name` below `folder`. RecipeError if it would lead out of the folder."""
    windows = PureWindowsPath(name)
    outside = PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts
    if outside or "\0" in name or not name.strip():
        raise RecipeError(
            f"{where}: file_name {name!r} is not allowed. Allowed: a path inside {folder}, without '..'."
        )
    return folder / name


def _texts(value: Any, where: str) -> list[str]:
    """The captions of one row: none, one, or a list."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(v, str) for v in values):
        raise RecipeError(f"{where}: text {value!r} is not allowed. Allowed: text, or a list of texts.")
    return [clean(v, where) for v in values]


def clean(text: str, where: str) -> str:
    """Collapse white space. RecipeError for text that is not valid Unicode."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        raise RecipeError(f"{where}: text is not valid Unicode: {text!r}") from None
    return " ".join(text.split())
