"""Write and read the files of one checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen.errors import TrainingError, reason
from multigen.storage.files import sha256, write_text
from multigen.storage.tensors import load_tensors, save_tensors
from multigen.training.checkpoint.folder import LATEST, drop_old, path_of, take_back
from multigen.training.checkpoint.verify import MANIFEST, STATE


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint: `tensors[file][name]` and the JSON state."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint, *, keep: int, every: int = 0) -> Path:
    """Write the checkpoint of a step, then remove old ones. Returns its path.

    The files are written into a temporary folder and flushed to disk; then the folder is renamed and `latest` updated.

    keep    number of newest checkpoints to keep; 0 keeps all
    every   checkpoints whose step is a multiple of this are kept as well; 0: none

    The best checkpoint (`mark_best`) is always kept. Raises TrainingError if a weight is not finite or the files
    cannot be written, for example because the disk is full. Older checkpoints are then unchanged.
    """
    final = path_of(folder, step)
    temporary, aside = folder / f".{final.name}.tmp", folder / f".{final.name}.old"
    _check_finite(final, checkpoint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        _write(temporary, checkpoint)
        if final.exists():  # an earlier attempt at the same step
            os.replace(final, aside)
        os.replace(temporary, final)
        _fsync(folder)
        write_text(folder / LATEST, f"{final.name}\n")
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        take_back(aside)
        raise TrainingError(
            f"{final}: the checkpoint could not be written ({reason(error)}). Older checkpoints are intact. Free some "
            "disk space and re-run the same command to resume from the newest."
        ) from error
    shutil.rmtree(aside, ignore_errors=True)
    drop_old(final, keep, every)
    return final


def load(path: Path) -> Checkpoint:
    """Read a checkpoint that `newest` returned: the files that its manifest lists, and no others."""
    names = [Path(name) for name in json.loads((path / MANIFEST).read_text(encoding="utf-8"))]
    tensors = {n.stem: load_tensors(path / n) for n in names if n.suffix == ".safetensors"}
    return Checkpoint(tensors, json.loads((path / STATE).read_text(encoding="utf-8")))


def digest(checkpoint: Checkpoint) -> str:
    """Return the sha256 of all tensors, sorted by name. Trainings that are equal bit for bit have equal digests."""
    total = hashlib.sha256()
    for file, tensors in sorted(checkpoint.tensors.items()):
        for name, tensor in sorted(tensors.items()):
            total.update(f"{file}.{name} {tensor.dtype} {list(tensor.shape)}".encode())
            total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _check_finite(final: Path, checkpoint: Checkpoint) -> None:
    broken = [n for n, t in checkpoint.tensors.get("weights", {}).items() if not t.isfinite().all()]
    if broken:
        raise TrainingError(
            f"{final}: not written because the weights are no longer finite ({broken[0]}). Older checkpoints are "
            "intact. Try a smaller train.lr or a longer train.warmup."
        )


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write all files and their manifest, flushed to disk."""
    for name, tensors in checkpoint.tensors.items():
        save_tensors(folder / f"{name}.safetensors", tensors)
    (folder / STATE).write_text(json.dumps(checkpoint.state), encoding="utf-8")
    files = sorted(folder.iterdir())
    manifest = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    for path in (*files, folder / MANIFEST, folder):
        _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
