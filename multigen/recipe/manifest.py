"""manifest.json of a run folder: what each file was made from, its size and its checksum."""

from __future__ import annotations

import json
import platform
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from multigen.errors import MultigenError, reason
from multigen.recipe.dump import recipe_hash, to_data
from multigen.recipe.schema import Recipe
from multigen.storage.emoji_names import with_emoji_names
from multigen.storage.files import sha256, write_json
from multigen.storage.packages import torch_version

FILE = "manifest.json"
FORMAT = 1
SLUG = 48  # most characters of the prompt that a file name keeps


def file_name(index: int, prompt: str, seed: int, suffix: str) -> str:
    """Return a name that is valid on every file system: 003_red-apple-moving-left_seed3.mp4

    It has only letters of any script, digits, - and _, a bounded length, and is never empty or reserved. Latin letters
    lose their accents, and emoji become their names. `suffix` is like ".mp4".
    """
    if not re.fullmatch(r"\.[a-z0-9]{1,12}", suffix):
        raise ValueError(
            f"suffix: {suffix!r} is not allowed. Allowed: a dot and letters or digits, like '.wav'."
        )
    slug = _slug(with_emoji_names(prompt))
    return "_".join(part for part in (f"{index:03d}", slug, f"seed{seed}") if part) + suffix


def _slug(prompt: str) -> str:
    """The first characters of a prompt as a part of a file name."""
    plain = ""
    for character in unicodedata.normalize("NFKD", prompt).lower():
        if not (plain[-1:].isascii() and unicodedata.combining(character)):
            plain += character if unicodedata.category(character)[0] in "LMN" else "-"
    slug = re.sub("-+", "-", unicodedata.normalize("NFC", plain))[:SLUG]
    # File systems count bytes.
    return slug.encode()[: 3 * SLUG].decode(errors="ignore").strip("-")


def versions() -> dict[str, str]:
    """Return the versions of multigen, torch and Python."""
    from multigen.version import __version__

    return {"multigen": __version__, "torch": torch_version(), "python": platform.python_version()}


def write_manifest(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    recipe: Recipe,
    weights_hash: str,
    settings: Mapping[str, Any],
) -> Path:
    """Write `folder`/manifest.json atomically, in place of an older one. Returns its path.

    rows       for each file "file" (its path in `folder`, with /), "prompt", "seed", and anything else to record
    settings   what all files share: sampler, timesteps, guide, steps ...; a row takes precedence

    Every entry is complete, so that it can be read or moved alone: to its row and the settings it adds the hashes of
    recipe, weights and file, the size of the file, the versions and the time (UTC).
    """
    common = common_facts(recipe, weights_hash, settings)
    return write_entries(folder, [entry(folder, row, common) for row in rows])


def common_facts(recipe: Recipe, weights_hash: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What all entries of a manifest share."""
    common = {
        **settings,
        "recipe": recipe.name,
        "recipe_hash": recipe_hash(recipe),
        "weights_hash": weights_hash,
    }
    return common | {
        "versions": versions(),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def entry(folder: Path, row: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """The complete entry of one file, from its row (`write_manifest`) and what all share. The file is read."""
    path = inside(folder, row["file"])
    if path is None:
        raise ValueError(f"manifest: {row['file']!r} is not a path inside the folder")
    return {**common, **row, "bytes": path.stat().st_size, "sha256": sha256(path)}


def write_entries(
    folder: Path,
    entries: Sequence[Mapping[str, Any]],
    *,
    asked: Mapping[str, Any] | None = None,
    total: int | None = None,
) -> Path:
    """Write `folder`/manifest.json atomically, with what was asked for and how many files that makes."""
    head = {} if asked is None else {"asked": dict(asked), "total": total}
    write_json(folder / FILE, {"format": FORMAT, **head, "files": list(entries)})
    return folder / FILE


def read(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a run folder; None if there is none. MultigenError if it is damaged."""
    path = folder / FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MultigenError(f"{path}: cannot be read ({reason(error)})") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise MultigenError(f"{path}: not a manifest of format {FORMAT}")
    files = value.get("files")
    fields = {"file": str, "prompt": str, "seed": int, "bytes": int, "sha256": str}
    if not isinstance(files, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(k), t) for k, t in fields.items())
        for entry in files
    ):
        raise MultigenError(f"{path}: each of its files needs {', '.join(fields)}")
    return value


def verify(folder: Path) -> list[str]:
    """Hash every file of the manifest again. Returns a line for each that is missing or changed."""
    manifest = read(folder)
    if manifest is None:
        raise MultigenError(f"{folder / FILE}: no such file")
    return [found for one in manifest["files"] if (found := fault(folder, one))]


def recipe_changes(before: Recipe, after: Recipe) -> list[tuple[str, Any, Any]]:
    """List where two recipes differ: (dotted key, former value, new value), None for a missing key."""
    old, new = dict(_leaves(to_data(before))), dict(_leaves(to_data(after)))
    return [(k, old.get(k), new.get(k)) for k in {**old, **new} if old.get(k) != new.get(k)]


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def fault(folder: Path, entry: Mapping[str, Any]) -> str | None:
    """What is wrong with the file of an entry: missing, another size, another content; None: nothing."""
    name = entry["file"]
    path = inside(folder, name)
    if path is None:
        return f"{name!r}: not a path inside the folder"
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"{name}: {size:,} bytes, not {entry['bytes']:,}"
        return (
            None if sha256(path) == entry["sha256"] else f"{name}: its content has changed (sha256 differs)"
        )
    except OSError as error:
        return f"{name}: cannot be read ({error.strerror})"


def inside(folder: Path, name: str) -> Path | None:
    """Return the path of a name in a folder, or None if the name, which may be anyone's, leads out of it."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        return None
    path = folder.joinpath(*parts)
    return path if path.resolve().is_relative_to(folder.resolve()) else None
