"""The folder for what belongs to the user and not to one run: keys and certificates."""

from __future__ import annotations

import os
from pathlib import Path


def config_folder(*parts: str) -> Path:
    """A folder in $MULTIGEN_CONFIG, $XDG_CONFIG_HOME/multigen or ~/.config/multigen. It need not exist.

    A variable that is empty says nothing. OSError for a user who has no home.
    """
    try:
        if own := os.environ.get("MULTIGEN_CONFIG"):
            return Path(own).expanduser().joinpath(*parts)
        shared = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        return Path(shared).expanduser().joinpath("multigen", *parts)
    except RuntimeError as error:
        raise OSError(f"{error}; set $MULTIGEN_CONFIG to a folder") from None
