"""Data sets that no pip package carries, got once and only when asked: `multigen datasets fetch NAME`."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from multigen.datasets.fetch import emoji, emoji_3d
from multigen.datasets.fetch.download import Package, download
from multigen.errors import MultigenError, message, reason
from multigen.storage.cache_folder import cache_folder
from multigen.storage.lock import locked

log = logging.getLogger(__name__)

_MADE_OF = "made_of.json"


@dataclass(frozen=True)
class Fetchable:
    """A data set that can be fetched.

    name, about    what it is called, and is
    packages       what it is made of
    check          raises MultigenError where building needs what is not installed
    build          fills an empty folder from the packages' archives
    edition        rises when `build` makes something else of the same packages
    """

    name: str
    about: str
    packages: tuple[Package, ...]
    check: Callable[[], None]
    build: Callable[[Mapping[Package, Path], Path], None]
    edition: int = 1

    @property
    def folder(self) -> Path:
        """Where it lies once it is fetched."""
        return cache_folder("datasets") / self.name

    @property
    def here(self) -> bool:
        """Whether it was fetched, of these very packages."""
        try:
            found = json.loads((self.folder / _MADE_OF).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return found == self.made_of

    @property
    def made_of(self) -> dict[str, object]:
        """What its folder notes about its origin."""
        packages = {str(p): {"licence": p.licence, "sha512": p.sha512} for p in self.packages}
        return {"name": self.name, "edition": self.edition, "packages": packages}

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(p.size for p in self.packages)


FETCHABLE: Mapping[str, Fetchable] = {
    "emoji": Fetchable(
        "emoji",
        "1,900 named emoji in four styles: classic, detailed, flat, 3d",
        emoji.PACKAGES,
        emoji.check,
        emoji.build,
    ),
    "emoji_large": Fetchable(
        "emoji_large",
        "the same emoji at 222 pixels in three styles: detailed, flat, 3d",
        emoji.PACKAGES,
        emoji.check,
        emoji.build_large,
    ),
    "emoji_3d": Fetchable(
        "emoji_3d",
        "1,600 named emoji in 3D, 256x256, as a folder of pictures with captions (data.name=folder)",
        emoji_3d.PACKAGES,
        emoji_3d.check,
        emoji_3d.build,
    ),
}


def fetchable(name: str) -> Fetchable:
    """By name; MultigenError with the nearest."""
    if name not in FETCHABLE:
        raise MultigenError(message("datasets", name, FETCHABLE))
    return FETCHABLE[name]


def fetch(data: Fetchable, *, again: bool = False) -> Path:
    """Download and check the packages of a data set and build its folder; the folder.

    A finished folder is left as it is unless `again`. Archives lie beside it until it is finished, so an interrupted
    fetch goes on where it was; the folder appears whole or not at all. MultigenError where that fails.
    """
    if data.here and not again:
        log.info("%s: already here; --again makes it anew", data.name)
        return data.folder
    data.check()
    parts = data.folder.with_name(f"{data.name}.parts")
    try:
        with locked(parts, stays=False):
            archives = {p: _get(p, parts) for p in data.packages}
            fresh, old = parts / "new", parts / "old"
            for left in (fresh, old):
                shutil.rmtree(left, ignore_errors=True)
            fresh.mkdir()
            data.build(archives, fresh)
            (fresh / _MADE_OF).write_text(json.dumps(data.made_of, indent=2) + "\n", encoding="utf-8")
            if data.folder.exists():
                os.replace(data.folder, old)
            os.replace(fresh, data.folder)
        shutil.rmtree(parts, ignore_errors=True)
    except OSError as error:
        raise MultigenError(f"datasets fetch {data.name}: {reason(error)}") from error
    return data.folder


def _get(package: Package, folder: Path) -> Path:
    """A package's archive, with a line that says whose it is and that it is what was pinned."""
    log.info("%s: %.1f MB, %s, by %s", package, package.size / 1e6, package.licence, package.holder)
    path = download(package, folder)
    log.info("%s: SHA-512 as pinned", package)
    return path
