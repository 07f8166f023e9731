"""The folder for what is computed or downloaded once: data, encoded media, reference statistics."""

from __future__ import annotations

import os
from pathlib import Path

from multigen.errors import MultigenError


def cache_folder(*parts: str) -> Path:
    """Return a folder in $MULTIGEN_CACHE, $XDG_CACHE_HOME/multigen or ~/.cache/multigen; it is created if missing.

    Raises MultigenError if it cannot be created.
    """
    root = os.environ.get("MULTIGEN_CACHE")
    if root is None:
        root = str(Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "multigen")
    folder = Path(root, *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "set $MULTIGEN_CACHE to another folder"
        raise MultigenError(f"the cache {folder}: {error.strerror}; {hint}") from error
    return folder
