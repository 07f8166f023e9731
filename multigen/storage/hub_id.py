"""Ids of pipelines on the Hugging Face hub: owner/name."""

from __future__ import annotations

import re
from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_OWN_FOLDERS = ("runs", "recipes")  # "runs/name" is a run folder, not an id on the hub
_FILES = (".yaml", ".yml", ".safetensors", ".ckpt", ".bin", ".pt")


def is_id(source: str) -> bool:
    """Return whether a source has the form owner/name of an id on the hub, and is no file or folder here."""
    path = Path(source).expanduser()
    owner = source.partition("/")[0]
    return (
        _ID.fullmatch(source) is not None
        and path.suffix not in _FILES
        and owner not in _OWN_FOLDERS
        and not path.exists()
        and not path.parent.is_dir()
    )
