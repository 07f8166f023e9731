"""What was measured of particular weights: `measured.json` beside them, made by `python -m benchmarks.refresh`.

    {"weights": sha256 of the weights file, first 16 hex digits, "cache": {...}, "timesteps": {...}, ...}

One entry a stage. Entries of other weights are never used: they are left out when they are read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from multigen.errors import reason
from multigen.storage.files import write_json

log = logging.getLogger(__name__)

FILE = "measured.json"
_WEIGHTS = "weights"
_LARGEST = 1 << 20  # bytes; what is measured is a few numbers
# What damaged files, and those of newer versions, raise where they are read.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)


def read_measured(weights: Path) -> dict[str, Any]:
    """Return what was measured of a weights file, by stage; {} where nothing was, or only of other weights.

    The file only advises: one that cannot be read is warned of, and counts as nothing measured.
    """
    path = weights.parent / FILE
    try:
        if not weights.is_file() or not path.is_file():
            return {}
        if (size := path.stat().st_size) > _LARGEST:
            raise ValueError(f"{size:,} bytes; at most {_LARGEST:,} are read")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"{type(found).__name__} in place of a JSON object")
    except UNREADABLE as error:
        log.warning("%s: ignored, as it is not readable (%s)", path, reason(error))
        return {}
    if found.pop(_WEIGHTS, None) != digest(weights):
        return {}
    return found


def write_measured(folder: Path, weights: Path, stage: str, value: Any) -> None:
    """Write what a stage measured of a weights file into `folder`, beside what other stages measured of it."""
    path, of = folder / FILE, digest(weights)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except UNREADABLE:
        known = {}
    kept = known if isinstance(known, dict) and known.get(_WEIGHTS) == of else {}
    write_json(path, {**kept, _WEIGHTS: of, stage: value})


def digest(weights: Path) -> str:
    """Return the sha256 of a weights file, first 16 hex digits."""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
