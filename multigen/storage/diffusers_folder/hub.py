"""Pipelines on the Hugging Face hub: downloading them."""

from __future__ import annotations

import functools
from pathlib import Path

from multigen.errors import MultigenError
from multigen.storage.diffusers_folder.layout import COMPONENTS, INDEX, SCHEDULER
from multigen.storage.hub_id import is_id

# What is downloaded.
WANTED = (
    INDEX,
    f"{SCHEDULER}/*.json",
    *(f"{name}/*.json" for name in COMPONENTS),
    "tokenizer/*.txt",
    *(f"{name}/*.safetensors" for name in ("unet", "vae", "text_encoder")),
)
UNWANTED = ("*.fp16.*", "*.non_ema.*")


def located(path: str | None) -> Path:
    """Return the folder of a path, or of an id on the hub, which is downloaded. MultigenError if there is none."""
    if path is None:
        raise MultigenError(
            "path: not set. Give a folder in diffusers' format, or its id on the hub (owner/name)."
        )
    if is_id(path):
        return _fetched(path)
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise MultigenError(
            f"path: {path}: no such folder. Give a folder in diffusers' format, or an id (owner/name)."
        )
    return folder


@functools.cache
def _fetched(name: str) -> Path:
    """Download a model, once a process: the hub tells whether the local copy is up to date."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(name, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED))
    except (OSError, ValueError, RuntimeError) as error:  # offline, no such model, not allowed; a wrong id
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MultigenError(
            f"{name}: no such folder, and it cannot be downloaded from the hub ({reason}). Offline, give the path of a "
            "folder in diffusers' format."
        ) from error
    return Path(found)
