"""Captions and labels of the user's own files: metadata.jsonl, side .txt files, names, sub-folders.

metadata.jsonl follows the Hugging Face `imagefolder` convention: one JSON object a line with `file_name`, relative to
the folder of the metadata.jsonl, and `text` (one caption, or a list of alternatives), `label` or both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from multigen.datasets.scan import METADATA, Listing
from multigen.errors import RecipeError

Captions = Literal["auto", "metadata", "txt", "name", "none"]
Labels = Literal["auto", "folders", "none"]
_MAX_TEXT = 64 * 1024  # bytes of a side .txt
_MAX_CLASSES = 100_000


@dataclass
class Row:
    """What metadata.jsonl says of one file; several lines add up to alternative captions."""

    texts: list[str] = field(default_factory=list)
    label: str | int | None = None


@dataclass
class Metadata:
    """Rows by file, and the lines that name no file (path -> why)."""

    rows: dict[Path, Row] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def read_metadata(found: Listing) -> Metadata:
    """Every metadata.jsonl below the root. RecipeError with file and line number for a line that is no such row."""
    out = Metadata()
    media = set(found.media)
    for source in found.metadata:
        for number, line in enumerate(_lines(source), start=1):
            if line.strip():
                _add(out, source, f"{source}, line {number}", line, media)
    return out


def _lines(source: Path) -> list[str]:
    try:
        # Not splitlines: JSON text may hold the other line separators of Unicode as they are.
        return source.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{source}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read ({error.strerror})") from None


def _add(out: Metadata, source: Path, where: str, line: str, media: set[Path]) -> None:
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
        raise RecipeError(f"{where}: label {label!r}, but a former line says {kept.label!r} of the same file")
    kept.label = label if label is not None else kept.label
    kept.texts += texts


def _inside(folder: Path, name: str, where: str) -> Path:
    """`name` below `folder`; RecipeError if it would lead out of it."""
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
    return [_clean(v, where) for v in values]


def _clean(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        raise RecipeError(f"{where}: text that is not valid Unicode: {text!r}") from None
    return " ".join(text.split())


def side_text(path: Path) -> list[str]:
    """The lines of a side .txt: each is an alternative caption. RecipeError if it is not UTF-8 text of sane size."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_TEXT + 1)
        if len(content) > _MAX_TEXT:
            raise RecipeError(f"{path}: more than {_MAX_TEXT:,} bytes; that is no caption")
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    return [line for line in (_clean(raw, str(path)) for raw in text.splitlines()) if line]


def from_name(path: Path) -> str:
    """A caption from a file's name, without a counter at its end: `red_apple-02.png` gives "red apple"."""
    words = re.sub(r"[\s_\-.]+", " ", path.stem).strip()
    return re.sub(r"\s*(\(\d+\)|\b\d+)$", "", words).strip()


def captions_of(
    found: Listing, metadata: Metadata, how: Captions, classes: Mapping[Path, str]
) -> dict[Path, tuple[str, ...]]:
    """Alternative captions of each file, at least one; "" where there is none.

    auto: metadata.jsonl, else the side .txt, else the name of the class folder (`classes`). A file's own name is used
    only where asked for ("name"): names such as IMG_2041 say nothing.
    """
    if how == "metadata" and not any(row.texts for row in metadata.rows.values()):
        raise RecipeError(
            f'data.captions: metadata, but no {METADATA} in {found.root} gives a "text" to any file'
        )
    beside = {p: s for p in found.media if (s := p.with_suffix(".txt")) in found.texts}
    if how == "txt" and not beside:
        raise RecipeError(
            f"data.captions: txt, but no file in {found.root} has a .txt of its own name beside it"
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


def labels_of(found: Listing, metadata: Metadata, how: Labels) -> tuple[tuple[str, ...], dict[Path, int]]:
    """Class names and the label of each file; nothing without labels.

    auto: the labels of metadata.jsonl, else the top sub-folders if there are several and every file lies in one.
    """
    if how == "none":
        return (), {}
    given = {path: row.label for path, row in metadata.rows.items() if row.label is not None}
    if how == "auto" and given:
        return _from_metadata(found, given)
    tops = {path: found.name(path).split("/") for path in found.media}
    loose = [path for path, parts in tops.items() if len(parts) == 1]
    names = tuple(sorted({parts[0] for parts in tops.values() if len(parts) > 1}))
    if how == "auto" and (loose or len(names) < 2):
        return (), {}
    if loose or not names:
        raise RecipeError(
            f"data.labels: folders, but {len(loose)} of {len(found.media)} files lie in no sub-folder of {found.root}, "
            f"the first: {loose[0].name}"
        )
    return names, {path: names.index(parts[0]) for path, parts in tops.items()}


def _from_metadata(
    found: Listing, given: Mapping[Path, str | int]
) -> tuple[tuple[str, ...], dict[Path, int]]:
    without = [path for path in found.media if path not in given]
    if without:
        raise RecipeError(
            f"data.labels: {METADATA} gives a label to {len(given)} of {len(found.media)} files, none to "
            f"{found.name(without[0])}; label all of them, or set data.labels=none"
        )
    numbers = [v for v in given.values() if isinstance(v, int)]
    if numbers and len(numbers) < len(given):
        raise RecipeError(f"data.labels: {METADATA} mixes names and numbers as labels")
    if numbers and not 0 <= min(numbers) <= max(numbers) < _MAX_CLASSES:
        raise RecipeError(
            f"data.labels: {METADATA} has labels from {min(numbers)} to {max(numbers)}; "
            f"allowed: 0 to {_MAX_CLASSES - 1}"
        )
    if numbers:
        return _numbered(max(numbers)), {path: int(v) for path, v in given.items()}
    names = tuple(sorted({str(v) for v in given.values()}))
    places = {name: i for i, name in enumerate(names)}
    return names, {path: places[str(v)] for path, v in given.items()}


def _numbered(last: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(last + 1))
