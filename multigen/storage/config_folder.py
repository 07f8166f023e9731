"""The folder for what belongs to the user and not to one run: keys and certificates."""

from __future__ import annotations

import os
from pathlib import Path


def config_folder(*parts: str) -> Path:
    """A folder in $MULTIGEN_CONFIG, $XDG_CONFIG_HOME/multigen or ~/.config/multigen. It need not exist."""
    root = os.environ.get("MULTIGEN_CONFIG")
    if root is None:
        root = str(Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "multigen")
    return Path(root, *parts)
