"""Read and write LoRA files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from multigen.errors import MultigenError, reason
from multigen.storage.files import atomic
from multigen.storage.lora.adapter import Adapter
from multigen.storage.lora.names import (
    DORA,
    DOWN,
    MAGNITUDE,
    OTHER_SPELLINGS,
    PEFT,
    UP,
    kind_of_others,
    pairs_of,
)
from multigen.storage.tensors import load_tensors, read_header, save_tensors

log = logging.getLogger(__name__)

FILE = "pytorch_lora_weights.safetensors"
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"  # what peft writes
ABOUT = "multigen"  # the only entry of the header: safetensors writes several in random order
FORMAT = "multigen lora 1"


def write(path: Path, adapter: Adapter) -> Path:
    """Write an adapter atomically. Equal adapters give equal bytes."""
    tensors = {}
    for layer, pair in adapter.pairs.items():
        tensors[f"{layer}.{DOWN}"], tensors[f"{layer}.{UP}"] = pair.down, pair.up * pair.scale
        if pair.magnitude is not None:
            tensors[f"{layer}.{MAGNITUDE if pair.magnitude.ndim == 1 else DORA}"] = pair.magnitude
    about = {**adapter.about, "format": FORMAT}
    with atomic(path) as temporary:
        save_tensors(temporary, tensors, {ABOUT: json.dumps(about, sort_keys=True)})
    return path


def read(path: Path) -> Adapter:
    """Read a LoRA or DoRA. MultigenError for a file that is not one, is pickled, or is of another kind."""
    tensors = load_tensors(path)
    header = read_header(path)
    try:
        about = json.loads(header.get(ABOUT, "{}"))
        theirs = json.loads(header.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError) as error:
        raise MultigenError(f"{path}: its header is damaged ({reason(error)})") from error
    if not (isinstance(about, dict) and isinstance(theirs, dict)):
        raise MultigenError(f"{path}: its header is damaged (no JSON objects)")
    if not theirs and any(k.startswith(PEFT) for k in tensors):
        theirs = _peft_config(path)
    return Adapter(pairs_of(tensors, theirs, str(path)), about, str(path))


def in_folder(folder: Path) -> Path | None:
    """Return the LoRA file of a folder, as diffusers or peft names it, if there is one."""
    return next((folder / name for name in (FILE, PEFT_FILE) if (folder / name).is_file()), None)


def _peft_config(path: Path) -> dict[str, Any]:
    """What peft writes beside a file, for alpha. MultigenError for an adapter of another kind."""
    beside = path.with_name(PEFT_CONFIG)
    if not beside.is_file():
        log.warning("%s: there is no %s beside it, so alpha is taken to be the rank", path, PEFT_CONFIG)
        return {}
    try:
        config = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MultigenError(f"{beside}: cannot be read ({reason(error)})") from error
    kind = config.get("peft_type", "LORA") if isinstance(config, dict) else None
    if kind != "LORA":
        raise MultigenError(f"{beside}: the adapter's kind is {kind}, which is not applied. Applied: LORA.")
    return config


def is_lora(path: Path) -> bool:
    """Return whether the names in a safetensors file are those of a LoRA, or of an adapter of another kind."""
    try:
        with safe_open(path, "pt") as file:
            keys = list(file.keys())
            return any(k.endswith((DOWN, *OTHER_SPELLINGS)) for k in keys) or kind_of_others(keys) is not None
    except (SafetensorError, OSError):
        return False
