"""Pipelines on the Hugging Face hub: downloading them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from multigen.errors import MultigenError
from multigen.storage.diffusers_folder.layout import INDEX, read_json
from multigen.storage.hub_id import PREFIX, is_id

# What is downloaded of each part of a pipeline; no pickles, no code.
WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
UNWANTED = ("*.fp16.*", "*.non_ema.*")
# Parts that nothing here uses.
UNUSED = ("safety_checker",)


def located(path: str | None) -> Path:
    """Return the folder of a path, or of an id on the hub, which is downloaded. MultigenError if there is none."""
    if path is None:
        raise MultigenError(
            "path: not set. Give a folder in diffusers' format, or its id on the hub (hf:owner/name)."
        )
    if is_id(path):
        return _fetched(path)
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise MultigenError(
            f"path: {path}: no such folder. Give a folder in diffusers' format, or its id on the hub (hf:owner/name)."
        )
    return folder


@functools.cache
def _fetched(source: str) -> Path:
    """Download a model, once a process: the hub tells whether the local copy is up to date."""
    name = source.removeprefix(PREFIX)
    index = read_json(_download(name, [INDEX]) / INDEX)
    parts = [key for key, value in index.items() if isinstance(value, list) and key not in UNUSED]
    return _download(name, [INDEX, *(f"{part}/{kind}" for part in parts for kind in WANTED)])


def _download(name: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=list(UNWANTED))
    except (OSError, ValueError, RuntimeError) as error:  # offline, no such model, not allowed; a wrong id
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MultigenError(
            f"{PREFIX}{name}: it cannot be downloaded from the hub ({reason}). Offline, give the path of a folder in "
            "diffusers' format."
        ) from error
    return Path(found)
