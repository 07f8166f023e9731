"""Which media a folder of the user's holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.recipe.data_folder import find_folder as find_folder

METADATA = "metadata.jsonl"


@dataclass
class Listing:
    """What lies below `root`, sorted.

    media     files of the modality
    texts     .txt files, which may hold captions
    metadata  files called metadata.jsonl
    closed    folders that cannot be opened: path -> reason
    others    number of other files by suffix
    """

    root: Path
    media: list[Path] = field(default_factory=list)
    texts: set[Path] = field(default_factory=set)
    metadata: list[Path] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)

    def name(self, path: Path) -> str:
        """A path relative to the root as items, splits and caches name it: forward slashes, always valid Unicode."""
        return os.fsencode(path.relative_to(self.root).as_posix()).decode("utf-8", "backslashreplace")


def walk(root: Path, suffixes: Sequence[str]) -> Listing:
    """Everything below `root` except hidden files and folders. Links are followed; each folder is entered once."""
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


def read_text(path: Path) -> str:
    """The content of a UTF-8 file, with or without a byte-order mark. RecipeError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
