"""Faults while a checkpoint is written: the process killed, the disk full."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.faults import runs
from multigen.training import checkpoint as checkpoints

# A network of some MB at steps of a few ms: most of the time something is being written.
EVERY = 4  # steps between checkpoints
HEAVY = ("backbone.widths=[192]", "train.batch=1", f"train.checkpoint_every={EVERY}", "train.steps=1000000")


def killed(folder: Path, times: int = 50) -> list[dict[str, Any]]:
    """`kill -9` that many times, each in a save at a random moment; then on in the same run folder.

    `most lost`: from the checkpoint that was being written to the one that was gone on from, in steps; `most behind`:
    from the last step in the log, the steps that were made while it was written included.
    """
    run, rng = runs.run_of(folder), random.Random(0)
    good = inside = orphans = begun = step = 0
    lost, behind = [0], [0]
    for k in range(times + 1):
        with (folder / "said.txt").open("w+", encoding="utf-8") as file:
            process = runs.start(folder, *HEAVY, said=file)
            at, left = _trains(run, process, folder / "said.txt", first=k == 0)
            good += k > 0 and at > 0
            orphans += left
            lost.append(max(begun - at, 0) if k else 0)
            behind.append(max(step - at, 0) if k else 0)
            _catch(run, process, rng)
            begun = _saving(run) or begun
            process.send_signal(signal.SIGKILL if k < times else signal.SIGTERM)
            process.wait(runs.LIMIT)
            step, half = runs.last_step(run), bool(_saving(run))
            inside += k < times and half
        print(f"kill {k}: half written {half}, gone on from {at}", file=sys.stderr, flush=True)
    orphans += len(runs.orphans(run))
    row = {
        "what": f"kill -9 while saving, {times} times",
        "ok": good == times and max(lost) <= EVERY and not orphans,
    }
    row |= {"gone on": f"{good}/{times}", "half written": inside, "interval": EVERY}
    return [row | {"most lost": max(lost), "most behind": max(behind), "orphans": orphans}]


def _trains(run: Path, process: subprocess.Popen[str], said: Path, *, first: bool) -> tuple[int, int]:
    """The step that a command goes on from, and how much is left of the kill before; returns after its first save."""
    if first:
        runs.until(lambda: bool(checkpoints.found(run / "checkpoints")), process)
        return 0, 0
    runs.until(lambda: runs.resumed(said.read_text(encoding="utf-8")) > 0, process)
    at, place = runs.resumed(said.read_text(encoding="utf-8")), run / "checkpoints"
    runs.until(lambda: any(checkpoints.step_of(p) > at for p in checkpoints.found(place)), process)

    def own(name: str) -> bool:
        """Whether it is what the command itself writes just now."""
        found = re.search(r"step-(\d+)", name)
        return str(process.pid) in name or (found is not None and int(found[1]) > at)

    return at, sum(not own(name) or name.endswith(".broken") for name in runs.orphans(run))


def _saving(run: Path) -> int:
    """The step whose checkpoint is being written now, 0 if none is."""
    found = sorted((run / "checkpoints").glob(".step-*.tmp"))
    return int(found[-1].name[len(".step-") : -len(".tmp")]) if found else 0


def _catch(run: Path, process: subprocess.Popen[str], rng: random.Random) -> None:
    """Return at a random moment of a save."""
    runs.until(lambda: not _saving(run), process)
    runs.until(lambda: _saving(run) > 0, process)
    time.sleep(rng.uniform(0, 0.03))


def full(folder: Path) -> list[dict[str, Any]]:
    """A disk of some MB that one checkpoint after the other fills; then room is made and the same command goes on."""
    overrides = ("train.keep=100", "backbone.widths=[64]", "train.steps=60")
    plain = runs.undisturbed(folder / "plain", *overrides)
    size = sum(p.stat().st_size for p in (plain / "checkpoints" / "step-00000060").iterdir())
    disk = folder / "disk"
    disk.mkdir()
    if (os.name != "posix" or os.geteuid()) or _mount(disk, int(5.5 * size)):
        return [
            {"what": "disk full while saving", "ok": None, "said": "not possible here: mounting needs root"}
        ]
    try:
        code, said = runs.train(folder, *overrides, out=disk / "run")
        place = disk / "run" / "checkpoints"
        intact = [checkpoints.verify(p) is None for p in checkpoints.found(place)]
        clear = "could not be written" in runs.message(said) and "Traceback" not in said
        subprocess.run(["mount", "-o", f"remount,size={100 * size}", str(disk)], check=True)
        after, again = runs.train(folder, *overrides, out=disk / "run")
        same = runs.digest(disk / "run") == runs.digest(plain)
        left = runs.orphans(disk / "run")
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    ok = code == 1 and clear and all(intact) and len(intact) > 1 and after == 0 and same and not left
    row = {"what": "disk full while saving", "ok": ok, "exit": code, "good checkpoints": len(intact)}
    row |= {"gone on from": runs.resumed(again), "same bits": same, "orphans": len(left)}
    return [row | {"said": runs.message(said)}]


def _mount(disk: Path, size: int) -> int:
    """0 if a small disk stands there now."""
    if shutil.which("mount") is None:
        return 1
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    return subprocess.run(command, capture_output=True, check=False).returncode
