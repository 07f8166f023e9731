"""Getting a pinned package from an npm registry: resumed, limited in size, checked, and only then used."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multigen.errors import MultigenError, reason
from multigen.version import __version__

log = logging.getLogger(__name__)

_REGISTRY = "https://registry.npmjs.org"
_BLOCK = 1 << 16
_WAIT = 30  # s without a byte
_MEMBERS = 20_000  # files of an archive


@dataclass(frozen=True)
class Package:
    """A package of one version, pinned by the SHA-512 that the registry states for it (base64) and its size."""

    name: str
    version: str
    size: int  # bytes
    sha512: str
    licence: str
    holder: str
    unpacked: int = 64 << 20  # bytes: no file of the archive may be larger

    @property
    def file(self) -> str:
        """The archive as npm names it."""
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def registry() -> str:
    """The registry that npm is told to use here: $NPM_CONFIG_REGISTRY, the user's .npmrc, or npm's own.

    MultigenError if it is no http(s) address.
    """
    said = {name.lower(): value for name, value in os.environ.items()}  # npm reads either case
    found = said.get("npm_config_registry")
    if not found:
        file = Path(said.get("npm_config_userconfig") or Path.home() / ".npmrc")
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        named = [m[1] for m in (re.match(r"\s*registry\s*=\s*(\S+)", line) for line in lines) if m]
        found = named[-1] if named else _REGISTRY
    if urllib.parse.urlsplit(found).scheme not in ("http", "https"):
        raise MultigenError(f"npm's registry {found!r} is no http(s) address; see $NPM_CONFIG_REGISTRY")
    return found.rstrip("/")


def download(package: Package, folder: Path) -> Path:
    """The package's archive in `folder`: as it lies there, or the rest of it from the registry.

    What arrived before a broken connection is kept and gone on with. MultigenError if the registry cannot be
    reached, says no, or sends something else than what is pinned.
    """
    path = folder / package.file
    if path.is_file() and _digest(path) == package.sha512:
        return path
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    if have > package.size:
        part.unlink()
        have = 0
    if have < package.size:
        _receive(package, part, have)
    if _digest(part) != package.sha512:
        part.unlink()
        raise MultigenError(
            f"{package}: the SHA-512 of what {registry()} sent is not the pinned one; it was removed. "
            "Try again; if it stays so, something between here and the registry changes files."
        )
    os.replace(part, path)
    return path


def _receive(package: Package, part: Path, have: int) -> None:
    """Append the bytes from `have` on to `part`."""
    url = f"{registry()}/{package.name}/-/{package.file}"
    headers = {"User-Agent": f"multigen/{__version__}"} | ({"Range": f"bytes={have}-"} if have else {})
    if have:
        log.info("%s: %.1f MB are here", package, have / 1e6)
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_WAIT) as answer:
            if answer.status != 206:
                have = 0
            with part.open("ab" if have else "wb") as file:
                while block := answer.read(_BLOCK):
                    have += len(block)
                    if have > package.size:
                        break
                    file.write(block)
    except urllib.error.HTTPError as error:
        raise MultigenError(f"{package}: {url} answers {error.code} {error.reason}") from error
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise MultigenError(
            f"{package}: {registry()} cannot be reached ({reason}). Fetching needs a network; "
            "what arrived is kept, and the same command goes on with it."
        ) from error
    if have < package.size:
        raise MultigenError(
            f"{package}: the connection ended after {have:,} of {package.size:,} bytes. "
            "They are kept: the same command goes on with them."
        )
    if have > package.size:
        part.unlink()
        raise MultigenError(f"{package}: {url} sends more than the pinned {package.size:,} bytes")


def members(package: Package, path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each plain file of an archive whose whole name is `wanted`; nothing is unpacked to disk.

    MultigenError for an archive that cannot be read or holds more, or larger files, than expected.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            for count, member in enumerate(archive):
                if count >= _MEMBERS:
                    raise MultigenError(f"{package}: more than {_MEMBERS} files")
                if not member.isfile() or not wanted.fullmatch(member.name):
                    continue
                if member.size > package.unpacked:
                    raise MultigenError(f"{package}: {member.name} has {member.size:,} bytes")
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise MultigenError(f"{package}: {path} cannot be read: {reason(error)}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
