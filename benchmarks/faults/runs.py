"""The training that is disturbed, as a user starts it, and what is read from its run folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from multigen.training import checkpoint as checkpoints
from multigen.training import log as training_log

RECIPE = """\
name: tiny
modality: {name: image, size: 8, channels: 1}
data: {name: digits}
codec: {name: pixels}
backbone: {name: unet, widths: [8], blocks: 1, attention: [false]}
train:
  {steps: 60, batch: 4, checkpoint_every: 5, log_every: 1, held_out_every: 0, preview_every: 0, tensorboard: false}
sample: {n: 1, steps: 2}
"""
LIMIT = 300  # s that anything may take


def start(
    folder: Path, *overrides: str, out: Path | None = None, said: IO[str] | None = None
) -> subprocess.Popen[str]:
    """`multigen train tiny.yaml OVERRIDES` in a folder, its messages in a pipe or in a file."""
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    command = [sys.executable, "-m", "multigen", "train", "tiny.yaml", "--device", "cpu", *overrides]
    command += [] if out is None else ["--out", str(out)]
    here = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    messages = subprocess.PIPE if said is None else said
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=messages, text=True
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and messages, progress bars left out."""
    _, said = process.communicate(timeout=LIMIT)
    return process.returncode, said


def train(folder: Path, *overrides: str, out: Path | None = None) -> tuple[int, str]:
    """The command to its end: exit code and messages."""
    return end(start(folder, *overrides, out=out))


def undisturbed(folder: Path, *overrides: str) -> Path:
    """The run folder of a training that nothing happened to. RuntimeError with its messages if it fails."""
    code, said = train(folder, *overrides)
    if code:
        raise RuntimeError(f"exit code {code}: {said}")
    return run_of(folder)


def run_of(folder: Path) -> Path:
    """The run folder below a working folder."""
    return folder / "runs" / "tiny"


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something to come about while the process lives. RuntimeError with its messages if it ends before."""
    limit = time.monotonic() + LIMIT
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()
            raise RuntimeError(f"ended too early, or hung: {process.communicate()[1]}")
        time.sleep(0.002)


def last_step(run: Path) -> int:
    """The last step that is in the log, 0 without one."""
    return max((row["step"] for row in training_log.read(run)), default=0)


def digest(run: Path) -> str | None:
    """Of weights, average and optimizer in the newest checkpoint that verifies."""
    newest = checkpoints.newest(run / "checkpoints")
    return None if newest is None else checkpoints.digest(checkpoints.load(newest))


def resumed(said: str) -> int:
    """The step that a command went on from, by its own word; 0 if it began anew."""
    found = re.search(r"going on from step (\d+)", said)
    return int(found[1]) if found else 0


def orphans(run: Path) -> list[str]:
    """What no finished command leaves: temporary files and folders, half checkpoints."""
    hidden = [p for p in run.rglob(".*") if p.name != ".lock"]
    return sorted(str(p.relative_to(run)) for p in [*hidden, *run.rglob("*.broken"), *run.rglob("*.tmp")])


def message(said: str) -> str:
    """The line that says why a command ended."""
    lines = [line for line in said.splitlines() if line.startswith("multigen:")]
    return lines[-1] if lines else ""
