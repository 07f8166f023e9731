"""Checkpoints: a folder of safetensors and JSON, written whole or not at all, verified before it is used.

checkpoints/step-00000500/{weights,ema,optimizer}.safetensors, state.json, manifest.json (size and sha256 of each)
checkpoints/latest: the name of the one that was written last

Whoever reads may do so at any time, in another process too: only `save` and `tidy` change anything, and they belong to
the training that holds the run folder's lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen.errors import TrainingError
from multigen.storage.files import remove_leftovers, sha256, write_text
from multigen.storage.tensors import load_tensors, save_tensors

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
STATE = "state.json"
BEST, LATEST = "best.json", "latest"  # in the folder of checkpoints
BROKEN = ".broken"  # what the name of a checkpoint ends with that did not verify
_NEEDED = frozenset({STATE, "weights.safetensors", "ema.safetensors", "optimizer.safetensors"})


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
    """Write step-N under `folder`: temporary folder, fsync, rename, `latest`; then drop what need not be kept.

    Kept are the newest `keep` (0: all), those of every `every`-th step, and the best (see `mark_best`).

    TrainingError if it cannot be written (a full disk) or a weight is not finite; older checkpoints are then untouched.
    """
    final = path_of(folder, step)
    temporary, aside = folder / f".{final.name}.tmp", folder / f".{final.name}.old"
    broken = [n for n, t in checkpoint.tensors.get("weights", {}).items() if not t.isfinite().all()]
    if broken:
        raise TrainingError(
            f"{final}: not written, for the weights are no longer finite ({broken[0]}). Older checkpoints are intact. "
            "Try a smaller train.lr or a longer train.warmup."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        _write(temporary, checkpoint)
        if final.exists():  # the same step again
            os.replace(final, aside)
        os.replace(temporary, final)
        _fsync(folder)
        write_text(folder / LATEST, f"{final.name}\n")
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _take_back(aside)
        raise TrainingError(
            f"{final}: the checkpoint could not be written ({error}). Older checkpoints are intact; free some space "
            "and run the same command again to go on from the newest."
        ) from error
    shutil.rmtree(aside, ignore_errors=True)
    _drop(final, keep, every)
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    """A checkpoint's files and their manifest, on the disk when this returns."""
    for name, tensors in checkpoint.tensors.items():
        save_tensors(folder / f"{name}.safetensors", tensors)
    (folder / STATE).write_text(json.dumps(checkpoint.state), encoding="utf-8")
    files = sorted(folder.iterdir())
    manifest = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    for path in (*files, folder / MANIFEST, folder):
        _fsync(path)


def _drop(newest: Path, keep: int, every: int) -> None:
    """Remove what need not be kept, and what was broken: a better one is there now."""
    folder = newest.parent
    kept = best(folder)
    good = [
        p for p in found(folder) if step_of(p) <= step_of(newest)
    ]  # what is beyond never counts for one of them
    for old in good[:-keep] if keep > 0 else []:
        if not (every and step_of(old) % every == 0) and (kept is None or old.name != kept.name):
            _remove(old)
    for broken in folder.glob(f"step-*{BROKEN}"):
        _remove(broken)


def _remove(path: Path) -> None:
    if path.is_symlink():  # what it leads to is not ours
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _take_back(aside: Path) -> None:
    """The older try of a step, put aside for a newer one that was never finished, stands in its place again."""
    final = aside.with_name(aside.name.removeprefix(".").removesuffix(".old"))
    if aside.is_dir() and not final.exists():
        os.replace(aside, final)


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


def found(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first; whatever else lies in the folder is left alone."""
    named = [p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name)]
    return sorted((p for p in named if p.is_dir()), key=step_of)


def step_of(path: Path) -> int:
    """The step of a checkpoint, from its name."""
    return int(path.name.removeprefix("step-"))


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step stands, or would."""
    return folder / f"step-{step:08d}"


def verify(path: Path, needed: frozenset[str] = _NEEDED) -> str | None:
    """What is wrong with a checkpoint, or None. `needed`: the files that its manifest must name."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if absent := sorted(needed - manifest.keys()):
            return f"{MANIFEST} does not name {', '.join(absent)}"
        for name, facts in manifest.items():
            file = path / name
            if Path(name).name != name or not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != facts["bytes"]:
                return f"{name} has {file.stat().st_size:,} bytes, not {facts['bytes']:,}"
            if sha256(file) != facts["sha256"]:
                return f"{name} does not match its checksum"
        return _absurd(json.loads((path / STATE).read_text(encoding="utf-8")), step_of(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} or {STATE} is unreadable ({error})"


def _absurd(state: Mapping[str, Any], step: int) -> str | None:
    """What no training can have written, though its checksum is right."""
    if state["step"] != step or isinstance(state["step"], bool):
        return f"{STATE} says step {state['step']!r}"
    seconds = state.get("seconds", 0.0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        return f"{STATE} says {seconds!r} seconds"
    return None


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that verifies. Broken ones are named in the log and stepped over; nothing is changed."""
    paths = found(folder)
    for path in reversed(paths):
        fault = verify(path)
        if fault is None:
            return path
        if path.is_dir():  # else a training that goes on has just dropped it
            before = "trying the one before" if path != paths[0] else "there is none before it"
            log.warning("checkpoint %s is broken: %s; %s", path, fault, before)
    return None


def tidy(folder: Path) -> None:
    """What a killed training left half done is removed; what `newest` steps over is renamed to end with `.broken`.

    So broken ones do not count among those to keep. They go when the next checkpoint is written. Where none verifies,
    all stay as they are. For the one that holds the run folder's lock.
    """
    for aside in folder.glob(".step-*.old"):
        _take_back(aside)
    for leftover in (*folder.glob(".step-*.tmp"), *folder.glob(".step-*.old")):
        _remove(leftover)
    remove_leftovers(folder)
    good = newest(folder)
    if good is None:
        return
    set_aside([path for path in found(folder) if step_of(path) > step_of(good)])
    said = _latest(folder)
    if said != good.name:
        if said and step_of(Path(said)) > step_of(good):
            log.warning(
                "%s names %s, which cannot be used; going on from %s", folder / LATEST, said, good.name
            )
        write_text(folder / LATEST, f"{good.name}\n")


def set_aside(paths: Sequence[Path]) -> None:
    """Rename broken checkpoints to end with `.broken`."""
    for path in paths:
        broken = path.with_name(f"{path.name}{BROKEN}")
        _remove(broken)
        os.replace(path, broken)


def _latest(folder: Path) -> str | None:
    """The checkpoint that `latest` names; None if it names none."""
    try:
        text = (folder / LATEST).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return text if re.fullmatch(r"step-\d+", text) else None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint that `newest` returned: the files of its manifest, whatever else lies beside them."""
    names = [Path(name) for name in json.loads((path / MANIFEST).read_text(encoding="utf-8"))]
    tensors = {n.stem: load_tensors(path / n) for n in names if n.suffix == ".safetensors"}
    return Checkpoint(tensors, json.loads((path / STATE).read_text(encoding="utf-8")))


def digest(checkpoint: Checkpoint) -> str:
    """sha256 of the bytes of all tensors, sorted by name: equal for trainings that are equal bit for bit."""
    total = hashlib.sha256()
    for file, tensors in sorted(checkpoint.tensors.items()):
        for name, tensor in sorted(tensors.items()):
            total.update(f"{file}.{name} {tensor.dtype} {list(tensor.shape)}".encode())
            total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
