"""What a server is asked to serve, and where: what can be refused before anything is loaded. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from multigen.errors import MultigenError
from multigen.serving.guard.hosts import is_local

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_reach(host: str, keys: Path | None) -> None:
    """MultigenError for a server that others reach and that asks for no key."""
    if not is_local(host) and keys is None:
        raise MultigenError(
            f"--host {host}: beyond this machine a server asks for keys. "
            "Make one with: multigen serve keys add FILE NAME, and give --keys FILE"
        )


def named(sources: Sequence[str]) -> dict[str, str]:
    """Sources by their id: of `id=path` what stands before the sign, else the name of the recipe, file or folder."""
    found: dict[str, str] = {}
    for text in sources:
        name, sign, path = text.partition("=")
        if not sign:
            name, path = (Path(text).stem if text.endswith(".safetensors") else Path(text).name), text
        if not _ID.fullmatch(name):
            raise MultigenError(
                f"{text}: {name!r} is no id; give id=path, with an id of A-Z, a-z, 0-9, '.', '_', '-'"
            )
        if name in found:
            raise MultigenError(f"{text}: there are two models {name!r}; give id=path")
        found[name] = path
    if not found:
        raise MultigenError("SOURCE: give a model to serve, such as image_emoji")
    return found
