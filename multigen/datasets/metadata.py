"""metadata.jsonl, metadata.csv and metadata.parquet: captions and labels of the user's files.

They follow the Hugging Face `imagefolder` convention: one JSON object, or one row of a table with these columns, for a
file, with `file_name`, relative to the folder of the metadata, and `text` (one caption, or a list of alternatives),
`label`, or both. Other programs call them `image`, `path` ... and `caption`, `prompt`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from multigen.datasets.names import Names
from multigen.datasets.parquet import table_rows
from multigen.datasets.scan import Listing, read_text
from multigen.errors import RecipeError

# In this order, where a row has several.
FILE_KEYS = ("file_name", "filename", "file", "image", "audio", "video", "path", "image_path", "filepath")
TEXT_KEYS = ("text", "caption", "captions", "prompt", "description")
CONTROL_KEYS = ("control", "conditioning_image", "control_image")  # the picture that a ControlNet is shown
_DELIMITERS = (",", ";", "\t")  # Excel writes the second where the comma is that of decimals


@dataclass
class Row:
    """What the metadata say about one file; several lines add up to alternative captions."""

    texts: list[str] = field(default_factory=list)
    label: str | int | None = None
    control: Path | None = None


@dataclass
class Metadata:
    """Rows by file, and the files that lines name but that are not there (path -> reason)."""

    rows: dict[Path, Row] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def read_metadata(found: Listing) -> Metadata:
    """Every file of metadata below the root. RecipeError names file and line of a fault."""
    out = Metadata()
    media = Names(found.media)
    for source in found.metadata:
        word, rows = _rows(source)
        for number, row in rows:
            _add(out, source, f"{source}, {word} {number}", row, media)
    return out


def _rows(source: Path) -> tuple[str, Iterator[tuple[int, Any]]]:
    """The rows of a file of metadata, numbered, and what they are called."""
    suffix = source.suffix.lower()
    if suffix == ".parquet":
        return "row", table_rows(source, (*FILE_KEYS, *TEXT_KEYS, *CONTROL_KEYS, "label"))
    return "line", _table(source) if suffix == ".csv" else _lines(source)


def _lines(source: Path) -> Iterator[tuple[int, Any]]:
    """The objects of a metadata.jsonl, each with the number of its line."""
    # Not splitlines: JSON text may hold Unicode's other line separators.
    for number, line in enumerate(read_text(source).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"{source}, line {number}: not valid JSON ({error})") from None


def _table(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a metadata.csv, each with the number of its last line. The first line names the columns."""
    text = read_text(source)
    head = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in rows:
            # Columns beyond those of the first line come under None.
            cells = {
                str(k).strip().lower(): v for k, v in row.items() if k is not None and v not in (None, "")
            }
            label = cells.get("label", "")
            if label.isdecimal():
                cells["label"] = int(label)
            if cells:
                yield rows.line_num, cells
    except csv.Error as error:
        raise RecipeError(f"{source}, line {rows.line_num + 1}: not a row of a table ({error})") from None


def _add(out: Metadata, source: Path, where: str, row: Any, media: Names) -> None:
    """Add one row; `where` names it in errors."""
    name = _first(row, FILE_KEYS) if isinstance(row, dict) else None
    if not isinstance(name, str):
        keys = ", ".join(map(repr, row)) if isinstance(row, dict) else type(row).__name__
        raise RecipeError(f'{where}: no "file_name" with the name of a file. Found: {keys or "nothing"}.')
    written = _inside(source.parent, name, where)
    path = media.find(written) or media.find(source.parent / name.replace("\\", "/")) or written
    texts, label = _texts(_first(row, TEXT_KEYS), where), row.get("label")
    if label is not None and (isinstance(label, bool) or not isinstance(label, str | int)):
        raise RecipeError(f"{where}: label {label!r} is not allowed. Allowed: a name or a whole number.")
    if media.find(path) is None:
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
    control = _first(row, CONTROL_KEYS)
    if control is not None:
        kept.control = _inside(source.parent, control if isinstance(control, str) else "", where, "control")


def _first(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first of these keys that a row has; None if it has none."""
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _inside(folder: Path, name: str, where: str, key: str = "file_name") -> Path:
    """`name` below `folder`. RecipeError if it would lead out of the folder."""
    windows = PureWindowsPath(name)
    outside = PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts
    if outside or "\0" in name or not name.strip():
        raise RecipeError(
            f"{where}: {key} {name!r} is not allowed. Allowed: a path inside {folder}, without '..'."
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
