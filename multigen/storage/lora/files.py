"""Read and write LoRA files."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from multigen.errors import MultigenError, reason
from multigen.storage.files import atomic
from multigen.storage.lora.adapter import Adapter
from multigen.storage.lora.names import DOWN, OTHER_SPELLINGS, UP, pairs_of
from multigen.storage.tensors import load_tensors, read_header, save_tensors

FILE = "pytorch_lora_weights.safetensors"
ABOUT = "multigen"  # the only entry of the header: safetensors writes several in random order
FORMAT = "multigen lora 1"


def write(path: Path, adapter: Adapter) -> Path:
    """Write an adapter atomically. Equal adapters give equal bytes."""
    tensors = {}
    for layer, pair in adapter.pairs.items():
        tensors[f"{layer}.{DOWN}"], tensors[f"{layer}.{UP}"] = pair.down, pair.up * pair.scale
    about = {**adapter.about, "format": FORMAT}
    with atomic(path) as temporary:
        save_tensors(temporary, tensors, {ABOUT: json.dumps(about, sort_keys=True)})
    return path


def read(path: Path) -> Adapter:
    """Read a LoRA. MultigenError for a file that is not one, is pickled, or is of a kind other than plain LoRA."""
    tensors = load_tensors(path)
    header = read_header(path)
    try:
        about = json.loads(header.get(ABOUT, "{}"))
        theirs = json.loads(header.get("lora_adapter_metadata", "{}"))
    except ValueError as error:
        raise MultigenError(f"{path}: its header is damaged ({reason(error)})") from error
    if not (isinstance(about, dict) and isinstance(theirs, dict)):
        raise MultigenError(f"{path}: its header is damaged (no JSON objects)")
    return Adapter(pairs_of(tensors, theirs, str(path)), about, str(path))


def is_lora(path: Path) -> bool:
    """Return whether the names in a safetensors file are those of a LoRA."""
    try:
        with safe_open(path, "pt") as file:
            return any(k.endswith((DOWN, *OTHER_SPELLINGS)) for k in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError):
        return False
