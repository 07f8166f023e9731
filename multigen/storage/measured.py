"""What was measured of particular weights: `measured.json` beside them, made by `python -m benchmarks.refresh`.

    {"weights": sha256 of the weights file, first 16 hex digits, "cache": {...}, "timesteps": {...}, ...}

One entry a stage. Entries of other weights are never used: they are left out when they are read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError
from multigen.storage.files import write_json

FILE = "measured.json"
_WEIGHTS = "weights"
_LARGEST = 1 << 20  # bytes; what is measured is a few numbers


def read_measured(weights: Path) -> dict[str, Any]:
    """Return what was measured of a weights file, by stage; {} where nothing was, or only of other weights.

    MultigenError for a file that is no JSON object.
    """
    path = weights.parent / FILE
    if not weights.is_file() or not path.is_file() or path.stat().st_size > _LARGEST:
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise MultigenError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(found, dict):
        raise MultigenError(f"{path}: {type(found).__name__} is not allowed. Allowed: a JSON object")
    if found.pop(_WEIGHTS, None) != digest(weights):
        return {}
    return found


def write_measured(folder: Path, weights: Path, stage: str, value: Any) -> None:
    """Write what a stage measured of a weights file into `folder`, beside what other stages measured of it."""
    path, of = folder / FILE, digest(weights)
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    kept = known if isinstance(known, dict) and known.get(_WEIGHTS) == of else {}
    write_json(path, {**kept, _WEIGHTS: of, stage: value})


def digest(weights: Path) -> str:
    """Return the sha256 of a weights file, first 16 hex digits."""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
