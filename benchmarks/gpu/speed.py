"""Speed beside diffusers eager and compiled, of the driver beside a bare loop, and of training steps, by batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu.jobs import Task, tasks
from benchmarks.gpu.report import Report, Row

UNET_BAR = 0.9
_CORES = 2  # that the compiler of one job may take


class Running(NamedTuple):
    """A job that gets ready, or waits to be measured."""

    task: Task
    process: subprocess.Popen[bytes]
    folder: Path


@contextmanager
def started(
    recipe: str, device: torch.device, *, tiny: bool, only: Sequence[str] = ()
) -> Iterator[list[Running]]:
    """All jobs, on their way to be ready; those that still run when the block ends are killed."""
    running: list[Running] = []
    environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": str(_CORES), "OMP_NUM_THREADS": str(_CORES)}
    with tempfile.TemporaryDirectory(prefix="multigen-speed-") as root:
        try:
            for number, task in enumerate(tasks(recipe)):
                if only and task.name not in only:
                    continue
                folder = Path(root, str(number))
                folder.mkdir()
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.gpu.worker",
                    recipe,
                    task.name,
                    str(device),
                    str(folder),
                ]
                with (folder / "log").open("wb") as log:
                    process = subprocess.Popen(
                        [*command, *(["tiny"] if tiny else [])], stdout=log, stderr=log, env=environment
                    )
                running.append(Running(task, process, folder))
            yield running
        finally:
            for one in running:
                if one.process.poll() is None:
                    one.process.kill()
                one.process.wait()


def measure(report: Report, running: Sequence[Running], deadline: float) -> None:
    """Let each job be measured in turn, the first first, while there is time; then hold the figures to their bars."""
    prepare = deadline - sum(one.task.seconds for one in running)
    while time.monotonic() < prepare and not all(map(_settled, running)):
        time.sleep(0.1)
    for one in running:
        left = deadline - time.monotonic()
        # A bar's job is worth waiting for.
        while not _settled(one) and time.monotonic() < min(prepare + 40, deadline - one.task.seconds):
            time.sleep(0.1)
        if not _settled(one) or left < one.task.seconds / 2:
            said = "not ready in time" if not _settled(one) else "no time left"
            report.add(one.task.section, {"what": one.task.name, "error": said, "trace": _tail(one)})
            one.process.kill()
            continue
        (one.folder / "go").touch()
        try:
            one.process.wait(timeout=max(min(3 * one.task.seconds + 10, left), 1.0))
        except subprocess.TimeoutExpired:
            one.process.kill()
        rows = _rows(one)
        report.extend(
            one.task.section, rows or [{"what": one.task.name, "error": "no rows", "trace": _tail(one)}]
        )
    report.extend("bars", bars(report.sections.get("speed", [])))


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
