"""Where multigen keeps what it makes once: downloaded data, encoded media, reference statistics."""

from __future__ import annotations

import os
from pathlib import Path

from multigen.errors import MultigenError


def cache_folder(*parts: str) -> Path:
    """$MULTIGEN_CACHE, or $XDG_CACHE_HOME/multigen, or ~/.cache/multigen; made if missing.

    MultigenError where it cannot be.
    """
    root = os.environ.get("MULTIGEN_CACHE")
    if root is None:
        root = str(Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "multigen")
    folder = Path(root, *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "$MULTIGEN_CACHE names another place for what is made once"
        raise MultigenError(f"the cache {folder}: {error.strerror}; {hint}") from error
    return folder
