"""Speed beside diffusers eager and compiled, of the driver beside a bare loop, and of training steps, by batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch

from benchmarks.gpu.jobs import Task, tasks
from benchmarks.gpu.report import Report, Row

UNET_BAR = 0.9
WAVE = 6  # jobs that get ready at once
PREPARE = 5.0  # s of a wave's getting ready, for each of its jobs
_CORES = 2  # that the compiler of one job may take


class Running(NamedTuple):
    """A job that gets ready, or waits to be measured."""

    task: Task
    process: subprocess.Popen[bytes]
    folder: Path


class Pool:
    """Jobs in waves of WAVE: those of one get ready side by side, and the next starts when they are measured.

    A block: what still runs when it ends is killed.
    """

    def __init__(self, recipe: str, device: torch.device, *, tiny: bool, only: Sequence[str] = ()) -> None:
        self.recipe, self.device, self.tiny = recipe, device, tiny
        self.waiting = [t for t in tasks(recipe) if not only or t.name in only]
        self.running: list[Running] = []
        self._root = tempfile.TemporaryDirectory(prefix="multigen-speed-")
        self._started = 0

    def start_wave(self) -> None:
        """Start the next jobs."""
        wave, self.waiting = self.waiting[:WAVE], self.waiting[WAVE:]
        self.running = [self._start(task) for task in wave]

    def _start(self, task: Task) -> Running:
        folder = Path(self._root.name, str(self._started))
        folder.mkdir()
        self._started += 1
        given = [self.recipe, task.name, str(self.device), str(folder), *(["tiny"] if self.tiny else [])]
        cores = {"TORCHINDUCTOR_COMPILE_THREADS": str(_CORES), "OMP_NUM_THREADS": str(_CORES)}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.worker", *given],
                stdout=log, stderr=log, env=os.environ | cores,
            )  # fmt: skip
        return Running(task, process, folder)

    def __enter__(self) -> Self:
        self.start_wave()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.running:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait()
        self._root.cleanup()


def measure(report: Report, pool: Pool, deadline: float) -> None:
    """Let each job be measured in turn, wave by wave, while there is time; then hold the figures to their bars."""
    while pool.running:
        left = deadline - time.monotonic()
        later = sum(task.seconds + PREPARE for task in pool.waiting[:WAVE])
        _wait(pool.running, deadline - max(min(later, left / 3), 0.0))
        for one in pool.running:
            _measure(report, one, deadline, patient=pool.device.type != "cuda")
        pool.start_wave()
        if time.monotonic() > deadline:
            for task in [*(one.task for one in pool.running), *pool.waiting]:
                report.add(task.section, {"what": task.name, "error": "no time left"})
            break
    report.extend("bars", bars(report.sections.get("speed", [])))


def _wait(running: Sequence[Running], deadline: float) -> None:
    """Until all are ready, or only the time that measuring them takes is left."""
    prepare = deadline - sum(one.task.seconds for one in running)
    while time.monotonic() < prepare and not all(map(_settled, running)):
        time.sleep(0.1)


def _measure(report: Report, one: Running, deadline: float, *, patient: bool) -> None:
    left = deadline - time.monotonic()
    if not _settled(one) or left < one.task.seconds / 2:
        said = "not ready in time" if not _settled(one) else "no time left"
        report.add(one.task.section, {"what": one.task.name, "error": said, "trace": _tail(one)})
        one.process.kill()
        return
    (one.folder / "go").touch()
    most = left if patient else min(3 * one.task.seconds + 10, left)
    try:
        one.process.wait(timeout=max(most, 1.0))
    except subprocess.TimeoutExpired:
        one.process.kill()
    rows = _rows(one)
    report.extend(
        one.task.section, rows or [{"what": one.task.name, "error": "no rows", "trace": _tail(one)}]
    )


def _settled(one: Running) -> bool:
    return (one.folder / "ready").exists() or one.process.poll() is not None


def _rows(one: Running) -> list[Row]:
    path = one.folder / "rows.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _tail(one: Running) -> str:
    return (one.folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]


def bars(rows: Sequence[Row]) -> Iterator[Row]:
    """Our U-Net over diffusers', both compiled and both eager, for each thing that both were measured at."""
    found = {row["what"]: row["ms"] for row in rows if "ms" in row}
    for what, mine in found.items():
        theirs = found.get(what.replace("ours, ", "diffusers, "))
        if not what.startswith("ours, ") or theirs is None:
            continue
        row = {"what": f"{what.removeprefix('ours, ')}: ours over diffusers", "ratio": mine / theirs}
        # The bar is of large batches: at one picture both wait for the host.
        barred = "compiled" in what and what[-7:] != "batch 1"
        yield row | ({"bar": UNET_BAR, "ok": mine / theirs <= UNET_BAR} if barred else {})
