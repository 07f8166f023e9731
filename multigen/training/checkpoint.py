"""Checkpoints: a folder of safetensors and JSON, written whole or not at all, verified before it is used.

checkpoints/step-00000500/{weights,ema,optimizer}.safetensors, state.json, manifest.json (size and sha256 of each)
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigen.errors import MultigenError, TrainingError
from multigen.files import sha256, write_text

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
BEST = "best.json"  # in the folder of checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: `tensors[file][name]` and the JSON state."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


class Best(NamedTuple):
    """The checkpoint with the lowest held-out loss."""

    name: str
    loss: float


def save(folder: Path, step: int, checkpoint: Checkpoint, *, keep: int, every: int = 0) -> Path:
    """Write step-N under `folder`: temporary folder, fsync, rename; then drop what need not be kept.

    Kept are the newest `keep` (0: all), those of every `every`-th step, and the best (see `mark_best`).

    TrainingError if it cannot be written (a full disk); older checkpoints are then untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    temporary = folder / f".step-{step:08d}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, tensors in checkpoint.tensors.items():
            save_tensors(temporary / f"{name}.safetensors", tensors)
        (temporary / "state.json").write_text(json.dumps(checkpoint.state), encoding="utf-8")
        files = sorted(p for p in temporary.iterdir())
        manifest = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in files}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        for path in (*files, temporary / MANIFEST, temporary):
            _fsync(path)
        if final.exists():  # the same step again: an older try of it that did not verify
            shutil.rmtree(final)
        os.replace(temporary, final)
        _fsync(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TrainingError(
            f"{final}: the checkpoint could not be written ({error}). Older checkpoints are intact; free some space "
            "and run the same command again to go on from the newest."
        ) from error
    kept = best(folder)
    for old in found(folder)[:-keep] if keep > 0 else []:
        if not (every and int(old.name.removeprefix("step-")) % every == 0) and old.name != (
            kept and kept.name
        ):
            shutil.rmtree(old, ignore_errors=True)
    return final


def mark_best(path: Path, loss: float) -> None:
    """Keep a checkpoint for its held-out loss, in place of the one that was best before."""
    write_text(path.parent / BEST, json.dumps({"name": path.name, "loss": loss}))


def best(folder: Path) -> Best | None:
    """The checkpoint that `mark_best` named last; None if there is none, or its file is damaged."""
    try:
        data = json.loads((folder / BEST).read_text(encoding="utf-8"))
        return Best(str(data["name"]), float(data["loss"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. OSError that names it if it cannot be written."""
    try:
        save_file({k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}, path, metadata=metadata)
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise OSError(f"{path}: {error}") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; MultigenError names the file if it is anything else."""
    if not path.is_file():
        raise MultigenError(f"{path}: no such file")
    if path.suffix != ".safetensors":
        raise MultigenError(
            f"{path}: weights are read from .safetensors only, never from pickles (.pt, .ckpt, .bin)"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise MultigenError(f"{path}: not a readable safetensors file ({error})") from error


def found(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*") if p.is_dir())


def verify(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, facts in manifest.items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != facts["bytes"]:
                return f"{name} has {file.stat().st_size:,} bytes, not {facts['bytes']:,}"
            if sha256(file) != facts["sha256"]:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} is unreadable ({error})"
    return None


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that verifies. Broken ones are named in the log and stepped over; leftovers removed."""
    for leftover in folder.glob(".step-*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    for path in reversed(found(folder)):
        fault = verify(path)
        if fault is None:
            return path
        log.warning("checkpoint %s is broken: %s; trying the one before", path, fault)
    return None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint that `newest` returned."""
    tensors = {p.stem: load_tensors(p) for p in path.glob("*.safetensors")}
    return Checkpoint(tensors, json.loads((path / "state.json").read_text(encoding="utf-8")))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors: `<parameter index>.<key>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{key}": torch.as_tensor(value) for i, entry in state.items() for key, value in entry.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def mismatches(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], limit: int = 5) -> list[str]:
    """The first differences between two sets of tensors, as a user reads them."""
    rows = []
    for name, tensor in expected.items():
        if name not in given:
            rows.append(f"{name} is missing")
        elif given[name].shape != tensor.shape:
            rows.append(f"{name} is {list(given[name].shape)}, expected {list(tensor.shape)}")
    rows += [f"{name} is not expected" for name in given if name not in expected]
    more = [f"and {len(rows) - limit} more"] if len(rows) > limit else []
    return rows[:limit] + more


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
