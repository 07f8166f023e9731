"""A rank killed in training: two gloo ranks on the CPU, one of them killed (SIGKILL) at a step that differs each time.

The whole job restarts from its newest checkpoint (`launch.restarts`). `same`: whether the final weights have the bytes
of a training without the fault. `seconds` are those of the whole command, its fault and restart included.
`python -m benchmarks.ranks` prints the table and ends with 1 if any of them is not the same.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.__main__ import table
from benchmarks.faults import runs
from multigen.storage.files import sha256
from multigen.training import log as training_log

# Of the recipe that `benchmarks.faults` disturbs.
OVERRIDES = (
    "train.steps=400", "train.checkpoint_every=25", "launch=torchrun", "launch.nproc=2", "launch.restarts=2", "--quiet",
)  # fmt: skip


def _train(folder: Path, kill: tuple[int, int] | None = None) -> tuple[int, int | None]:
    """Train in `folder`, killing (rank, after that step). The exit code, and the last step logged at the kill."""
    with runs.start(folder, *OVERRIDES, said=sys.stderr) as process:
        at = None
        if kill is not None:
            at = _wait(folder / "runs" / "tiny", kill[1])
            os.kill(_rank(process.pid, kill[0]), signal.SIGKILL)
        return process.wait(runs.LIMIT), at


def _wait(run: Path, step: int) -> int:
    until = time.monotonic() + runs.LIMIT
    while time.monotonic() < until:
        steps = [row["step"] for row in training_log.read(run)]
        if steps and steps[-1] >= step:
            return steps[-1]
        time.sleep(0.01)
    raise TimeoutError(f"{run}: step {step} was not reached in {runs.LIMIT} s")


def _rank(launcher: int, rank: int) -> int:
    """The process of a rank: a child of the launcher that has it in its environment."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise ProcessLookupError(f"no rank {rank} among the children of {launcher}")


def measure(times: int = 10) -> list[dict[str, Any]]:
    """One row for each kill."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wanted = None
        for k in range(times + 1):
            place = folder / str(k)
            place.mkdir()
            start = time.perf_counter()
            kill = None if k == 0 else (k % 2, 30 + 37 * (k - 1))
            code, at = _train(place, kill)
            weights = place / "runs" / "tiny" / "weights.safetensors"
            found = sha256(weights) if weights.is_file() else None
            wanted = found if k == 0 else wanted
            row = {"time": k, "rank": None if kill is None else kill[0], "killed at step": at, "exit": code}
            rows.append({**row, "same": found == wanted, "seconds": time.perf_counter() - start})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="how many ranks to kill, one a training")
    rows = measure(parser.parse_args(argv).times)
    print(table(rows))
    return 0 if all(row["same"] and row["exit"] == 0 for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
