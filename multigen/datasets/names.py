"""Finding files by names that people and programs wrote: other slashes, other cases, other spellings of accents."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path


class Names:
    """Files by their paths; a path that is not there exactly is compared without case and composed (NFC).

    Windows and macOS take such paths as equal: `train\\A.JPG`, and an accent as one character or as two (NFD).
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._exact = set(paths)
        self._folded: dict[
            str, Path | None
        ] = {}  # None: several files, of which none is meant more than another
        for path in self._exact:
            key = _key(path)
            self._folded[key] = None if key in self._folded else path

    def find(self, path: Path) -> Path | None:
        """The file that a path means; None if there is none, or if it could be one of several."""
        return path if path in self._exact else self._folded.get(_key(path))


def _key(path: Path) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())
