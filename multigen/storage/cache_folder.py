"""The folder for what is computed or downloaded once: data, encoded media, reference statistics."""

from __future__ import annotations

import os
from pathlib import Path

from multigen.errors import MultigenError


def cache_folder(*parts: str) -> Path:
    """Return a folder in $MULTIGEN_CACHE, $XDG_CACHE_HOME/multigen or ~/.cache/multigen; it is created if missing.

    A variable that is empty says nothing.

    Raises MultigenError if it cannot be created.
    """
    own = os.environ.get("MULTIGEN_CACHE")
    folder = Path(own or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "multigen"), *parts)
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # the latter for a user who has no home
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise MultigenError(f"the cache {folder}: {why}; set $MULTIGEN_CACHE to another folder") from error
    return folder
