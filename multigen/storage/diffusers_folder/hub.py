"""Pipelines on the Hugging Face hub: downloading them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from multigen.errors import MultigenError
from multigen.storage.diffusers_folder.layout import read_json
from multigen.storage.diffusers_folder.single_file import folder_of, is_single_file
from multigen.storage.diffusers_folder.single_file.header import KNOWN, shapes_of
from multigen.storage.hub_id import PREFIX, is_id
from multigen.storage.pipeline_place import INDEX
from multigen.storage.weights_file import PICKLES, pickled

# What is downloaded of each part of a pipeline; no pickles, no code.
WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
UNWANTED = ("*.fp16.*", "*.non_ema.*")
_GIVE = (
    "Give a folder in diffusers' format, its id on the hub (hf:owner/name), or a single .safetensors file."
)


def located(path: str | None, config: str | None = None) -> Path:
    """Return the folder of a path, of a single file, or of an id on the hub, which is downloaded.

    config  of a single file: a folder, or an id, that says what the file does not

    MultigenError if there is none.
    """
    if path is None:
        raise MultigenError(f"path: not set. {_GIVE}")
    if is_id(path):
        owner, name, *stage = path.split("/")
        found = _fetched(f"{owner}/{name}").joinpath(*stage)
    else:
        found = Path(path).expanduser().resolve()
        if found.is_file():
            return _unfolded(path, found, config)
    if config is not None:
        raise MultigenError(f"config: {config}: it goes with a single file, and {path} is a whole folder")
    if not found.is_dir():
        raise MultigenError(f"path: {path}: no such folder. {_GIVE}")
    return found


def _unfolded(path: str, found: Path, config: str | None) -> Path:
    if found.suffix in PICKLES:
        raise pickled(found)
    if not is_single_file(found):
        shapes_of(found)
        raise MultigenError(f"path: {path}: no network that is known. Allowed: single files of {KNOWN}")
    return folder_of(found, None if config is None else located(config))


@functools.cache
def _fetched(source: str) -> Path:
    """Download a model, once a process: the hub tells whether the local copy is up to date."""
    name = source.removeprefix(PREFIX)
    index = read_json(_download(name, [INDEX]) / INDEX)
    parts = [key for key, value in index.items() if isinstance(value, list) and any(value)]
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
