"""Families of diffusers: our driver beside their own pipelines, networks of real shape with made-up weights.

Stable Diffusion 1.5 and XL, and 3 medium without T5: one picture of 256 x 256, 4 steps with CFG, fp32. `step` is the
time from one step's end to the next, `whole` from the prompt to the decoded picture; seconds, medians. `peak` is the
most resident memory of a process that loads the folder and makes the picture, in GB. Each side has processes of its
own, in turns; `from` and `to` are the least and the greatest ratio. `mixed`: eight requests of 10 to 30 steps and
guidance 1 to 9 on the shape of 1.5, together beside one after another, in seconds. A family's folder (up to 14 GB)
stands in $TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import multigen
from benchmarks.__main__ import table
from benchmarks.family_folders import MADE, write
from multigen import Request
from multigen.model.model import Model
from multigen.storage.diffusers_folder import imported, read_json
from multigen.storage.pipeline_place import INDEX

SIZE, STEPS, SEED = 256, 4, 0
PROMPT = "a lighthouse at dusk, oil painting"
ROUNDS = 3  # processes of each side
BARS = {"sd15": 0.95, "sdxl": 1.02, "sd3": 1.02}  # of a step; of memory 1.02, of the mixed batch 1
MIXED = 8
Timed = tuple[float, float]  # seconds of a step, and of the whole


def measure(
    names: Sequence[str] = tuple(MADE), *, small: bool = False, repeats: int = 2, size: int = SIZE
) -> list[dict[str, Any]]:
    """Rows of every family, one after another, each side in processes of its own."""
    found = []
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            run = ["--folder", str(folder), "--repeats", str(repeats), "--size", str(size)]
            _worker("write", ["--families", name, *run, *(["--small"] if small else [])])
            found += [row | {"family": name} for row in _rows(name, run)]
    return [{"family": row.pop("family"), **row} for row in found]


def _rows(name: str, run: list[str]) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    for k in range(ROUNDS):
        for side in sorted(found, reverse=k % 2 == 1):
            found[side].append(_worker(side, run))
    rows = []
    for what, bar in (("step", BARS[name]), ("whole", None), ("peak", 1.02)):
        ours, theirs = ([one[what] for one in found[side]] for side in ("ours", "theirs"))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        row = _row(what, statistics.median(ours), statistics.median(theirs), statistics.median(ratios))
        rows.append(row | {"from": round(min(ratios), 3), "to": round(max(ratios), 3), "bar": bar})
    if name == "sd15":
        mixed = _worker("mixed", run)
        rows.append(
            _row("mixed", mixed["together"], mixed["alone"], mixed["together"] / mixed["alone"]) | {"bar": 1}
        )
    return rows


def _row(what: str, ours: float, theirs: float, ratio: float) -> dict[str, Any]:
    print(f"  {what}: {ours:.4g}, ratio {ratio:.3f}", file=sys.stderr, flush=True)
    return {"what": what, "multigen": ours, "peer": theirs, "ratio": round(ratio, 3)}


def _worker(task: str, arguments: list[str]) -> dict[str, Any]:
    """What a task says at its end, as JSON on its last line."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    line = [sys.executable, "-m", "benchmarks.families", task, *arguments]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


# --- in a process of its own --------------------------------------------------------------------------------------


def _ours(model: Model, size: int) -> Timed:
    """Make the picture; seconds of a step and of the whole."""
    ends: list[float] = []
    start = time.perf_counter()
    model.generate(
        PROMPT,
        n=1,
        seed=SEED,
        steps=STEPS,
        size=size,
        on_progress=lambda _: ends.append(time.perf_counter()),
    )
    return _step(ends), time.perf_counter() - start


def _theirs(pipe: Any, size: int) -> Timed:
    """As `_ours`, by diffusers."""
    ends: list[float] = []

    def ended(pipe: Any, step: int, t: Any, kept: dict[str, Any]) -> dict[str, Any]:
        ends.append(time.perf_counter())
        return kept

    start = time.perf_counter()
    pipe(
        PROMPT,
        height=size,
        width=size,
        num_inference_steps=STEPS,
        callback_on_step_end=ended,
        output_type="pt",
        generator=torch.Generator().manual_seed(SEED),
    )
    return _step(ends), time.perf_counter() - start


def _step(ends: Sequence[float]) -> float:
    return statistics.median(b - a for a, b in pairwise(ends))


def _pipeline(folder: Path) -> Any:
    diffusers: Any = imported("diffusers")
    diffusers.utils.logging.set_verbosity_error()
    index = read_json(folder / INDEX)
    parts = {name: None for name, value in index.items() if value == [None, None]}
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _side(given: argparse.Namespace) -> dict[str, Any]:
    """Load the folder and make the picture, on one side: the peak of the first, and medians of those after it."""
    if given.task == "ours":
        model = multigen.load(given.folder, device="cpu")
        _ours(model, given.size)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        runs = [_ours(model, given.size) for _ in range(given.repeats)]
    else:
        pipe = _pipeline(given.folder)
        _theirs(pipe, given.size)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        runs = [_theirs(pipe, given.size) for _ in range(given.repeats)]
    step, whole = (statistics.median(times) for times in zip(*runs, strict=True))
    return {"step": step, "whole": whole, "peak": peak}


def _mixed(given: argparse.Namespace) -> dict[str, Any]:
    """Eight requests one after another, and together."""
    model = multigen.load(given.folder, device="cpu")
    wishes = [
        Request(PROMPT, seed=k, steps=round(10 + 20 * k / 7), guidance_scale=1 + 8 * k / 7, size=given.size)
        for k in range(MIXED)
    ]
    list(model.batcher([Request(PROMPT, steps=1, size=given.size)]))  # warm
    start = time.perf_counter()
    for wish in wishes:
        list(model.batcher([wish]))
    alone = time.perf_counter() - start
    start = time.perf_counter()
    list(model.batcher(wishes, batch=MIXED))
    return {"alone": alone, "together": time.perf_counter() - start}


def _write(given: argparse.Namespace) -> dict[str, Any]:
    for name in given.families:
        write(name, given.folder, small=given.small)
    return {}


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "write": _write,
    "ours": _side,
    "theirs": _side,
    "mixed": _mixed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="?", choices=list(TASKS), help="one task on a folder; none: all of it")
    parser.add_argument("--families", nargs="+", choices=list(MADE), default=list(MADE))
    parser.add_argument("--repeats", type=int, default=2, help="pictures that a process times")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try it")
    parser.add_argument("--folder", type=Path, help="where a family is written")
    given = parser.parse_args()
    if given.task is None:
        rows = measure(given.families, small=given.small, repeats=given.repeats, size=given.size)
        print(table(rows))
        return
    torch.set_num_threads(os.cpu_count() or 1)
    print(json.dumps(TASKS[given.task](given)))


if __name__ == "__main__":
    main()
