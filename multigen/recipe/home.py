"""Paths that begin with the home folder."""

from __future__ import annotations

import re
from pathlib import Path

from multigen.errors import MultigenError

_HOME = re.compile(r"~[\w.-]*(/.*)?")  # a path that begins with the home folder of somebody


def expanded_path(text: str) -> str:
    """A path with `~` or `~name` at its beginning as the home folder. MultigenError for somebody who is not there."""
    if not _HOME.fullmatch(text):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise MultigenError(f"{text}: there is no home folder of {text.partition('/')[0][1:]!r}") from None
