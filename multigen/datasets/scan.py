"""Which media a folder of the user's holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.recipe.data_folder import find_folder as find_folder

METADATA = "metadata.jsonl"
TABLE = "metadata.csv"
PARQUET = "metadata.parquet"
_NAMED = 3  # files or folders that a summary names
CAPTIONS = (".txt", ".caption")  # of files beside media


@dataclass
class Listing:
    """What lies below `root`, sorted.

    media     files of the modality
    texts     .txt and .caption files, which may hold captions
    metadata  files called metadata.jsonl, metadata.csv or metadata.parquet
    closed    folders that cannot be opened: path -> reason
    made      folders that multigen made, which are left out: runs and samples
    others    number of other files by suffix
    """

    root: Path
    media: list[Path] = field(default_factory=list)
    texts: set[Path] = field(default_factory=set)
    metadata: list[Path] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    made: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def name(self, path: Path) -> str:
        """A path relative to the root as items, splits and caches name it: forward slashes, always valid Unicode."""
        return os.fsencode(path.relative_to(self.root).as_posix()).decode("utf-8", "backslashreplace")


def walk(root: Path, suffixes: Sequence[str]) -> Listing:
    """Everything below `root` except hidden files and folders, and except folders that multigen made.

    `root` itself may be one. Links are followed; each folder is entered once.
    """
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
        if Path(folder) != root and is_made(Path(folder), inside, files):
            found.made.append(Path(folder))
            inside.clear()
            continue
        inside[:] = sorted(d for d in inside if not d.startswith(".") and d != "__MACOSX")
        for name in files:
            _sort(found, Path(folder, name), suffixes)
    found.media.sort(key=found.name)
    found.metadata.sort()
    found.made.sort()
    return found


def _sort(found: Listing, path: Path, suffixes: Sequence[str]) -> None:
    """Put a file where it belongs."""
    suffix, name = path.suffix.lower(), path.name.lower()
    if name.startswith("."):
        return
    if name in (METADATA, TABLE, PARQUET):
        found.metadata.append(path)
    elif suffix in suffixes:
        found.media.append(path)
    elif suffix in CAPTIONS:
        found.texts.add(path)
    else:
        found.others[name if name.startswith("metadata.") else suffix or "(none)"] += 1


# What lies beside the recipe of a run, whatever became of it.
_RUN = {
    "log.jsonl",
    "weights.safetensors",
    "lora.safetensors",
    "report.html",
    "checkpoints",
    "previews",
    "media",
}


def is_made(folder: Path, inside: Collection[str], files: Collection[str]) -> bool:
    """Whether a folder with these folders and files is a run folder, or holds samples with their manifest."""
    if "recipe.yaml" in files and _RUN & {*inside, *files}:
        return True
    if "manifest.json" not in files:
        return False
    try:
        with (folder / "manifest.json").open("rb") as file:
            head = file.read(16_384)
    except OSError:
        return False
    return b'"weights_hash"' in head and b'"recipe_hash"' in head


def refuse_empty(found: Listing, modality: Modality) -> None:
    """RecipeError if there is no file of this modality: what was looked for, and what is there instead."""
    if found.media:
        return
    others = found.others + Counter(p.suffix.lower() for p in found.texts)
    there = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5)) or "nothing"
    if found.made:
        there += f", and {len(found.made)} folders of multigen's own results, which are left out"
    raise RecipeError(
        f"data.path: no {modality.name} files in {found.root} or below. Looked for: {' '.join(modality.suffixes)}. "
        f"Found: {there}."
    )


def summary(found: Listing, kind: str, files: int, captioned: int, bad: Mapping[str, str]) -> str:
    """What a folder holds: "120 pictures, 118 with captions, 3 skipped: a.jpg, b.png, c.gif"."""
    one, many = {"image": ("picture", "pictures")}.get(kind, (kind if kind != "audio" else "sound", ""))
    many = many or f"{one}s"
    text = f"{files} {one if files == 1 else many}, {captioned} with captions"
    if bad:
        text += f", {len(bad)} skipped: {_some([Path(name).name for name in bad])}"
    if found.others:
        ordered = sorted(found.others.items(), key=lambda other: (-other[1], other[0]))
        kinds = [f"{count} {suffix}" for suffix, count in ordered]
        text += f"; other files, which are not read: {_some(kinds)}"
    if found.made:
        names = _some([found.name(folder) for folder in found.made])
        text += f"; left out, as multigen made them: {names}"
    return text


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def read_text(path: Path) -> str:
    """The content of a UTF-8 file, with or without a byte-order mark. RecipeError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
