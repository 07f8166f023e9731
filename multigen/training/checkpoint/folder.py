"""The folder of checkpoints: list them, find the newest and the best, remove old and broken ones."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from multigen.storage.files import remove_leftovers, write_text
from multigen.training.checkpoint.verify import step_of, verify

log = logging.getLogger(__name__)

BEST, LATEST = "best.json", "latest"
BROKEN = ".broken"  # suffix of checkpoints that failed verification


class Best(NamedTuple):
    """Name and held-out loss of the best checkpoint."""

    name: str
    loss: float


def found(folder: Path) -> list[Path]:
    """List finished checkpoints, oldest first. Other files in the folder are ignored."""
    named = [p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name)]
    return sorted((p for p in named if p.is_dir()), key=step_of)


def path_of(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step, whether it exists or not."""
    return folder / f"step-{step:08d}"


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint that passes verification, or None.

    Broken ones are skipped with a warning. Nothing is changed.
    """
    paths = found(folder)
    for path in reversed(paths):
        fault = verify(path)
        if fault is None:
            return path
        if path.is_dir():  # otherwise a training in progress has just removed it
            before = "trying the one before it" if path != paths[0] else "there is none before it"
            log.warning("checkpoint %s is broken: %s; %s", path, fault, before)
    return None


def mark_best(path: Path, loss: float) -> None:
    """Record a checkpoint as the best so far. It is kept until a better one is recorded."""
    write_text(path.parent / BEST, json.dumps({"name": path.name, "loss": loss}))


def best(folder: Path) -> Best | None:
    """Return the checkpoint that `mark_best` recorded last; None if there is none or its file is damaged."""
    try:
        data = json.loads((folder / BEST).read_text(encoding="utf-8"))
        return Best(str(data["name"]), float(data["loss"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tidy(folder: Path) -> None:
    """Remove the leftovers of a killed training, and set aside the checkpoints that `newest` skips.

    Only for the process that holds the lock of the run folder. Checkpoints set aside do not count among those to keep;
    the next save deletes them. Without any valid checkpoint all of them stay.
    """
    for aside in folder.glob(".step-*.old"):
        take_back(aside)
    for leftover in (*folder.glob(".step-*.tmp"), *folder.glob(".step-*.old")):
        _remove(leftover)
    remove_leftovers(folder)
    good = newest(folder)
    if good is None:
        return
    set_aside([path for path in found(folder) if step_of(path) > step_of(good)])
    named = _latest(folder)
    if named != good.name:
        if named and step_of(Path(named)) > step_of(good):
            log.warning("%s names %s, which is unusable; resuming from %s", folder / LATEST, named, good.name)
        write_text(folder / LATEST, f"{good.name}\n")


def set_aside(paths: Sequence[Path]) -> None:
    """Rename broken checkpoints so that they end with `.broken`."""
    for path in paths:
        broken = path.with_name(f"{path.name}{BROKEN}")
        _remove(broken)
        os.replace(path, broken)


def drop_old(newest: Path, keep: int, every: int) -> None:
    """Remove checkpoints that need not be kept (see `save`), and those set aside as broken."""
    folder = newest.parent
    kept = best(folder)
    # Later checkpoints, of a longer training in the same folder, do not count.
    good = [p for p in found(folder) if step_of(p) <= step_of(newest)]
    for old in good[:-keep] if keep > 0 else []:
        if not (every and step_of(old) % every == 0) and (kept is None or old.name != kept.name):
            _remove(old)
    for broken in folder.glob(f"step-*{BROKEN}"):
        _remove(broken)


def take_back(aside: Path) -> None:
    """Restore an earlier checkpoint of the same step, if the one that should replace it was never finished."""
    final = aside.with_name(aside.name.removeprefix(".").removesuffix(".old"))
    if aside.is_dir() and not final.exists():
        os.replace(aside, final)


def _remove(path: Path) -> None:
    if path.is_symlink():  # the target is not ours
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _latest(folder: Path) -> str | None:
    """Return the name in `latest`, or None if it holds none."""
    try:
        text = (folder / LATEST).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return text if re.fullmatch(r"step-\d+", text) else None
