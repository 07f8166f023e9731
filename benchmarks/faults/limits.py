"""Numbers that are not finite, and memory that runs out: in a process of their own, by an objective that makes them.

`python -m benchmarks.faults.limits FAULT STEPS OVERRIDE ...` is that process: a training whose weights of the loss turn
bad at these steps.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from benchmarks.faults import runs
from multigen.errors import MultigenError
from multigen.recipe.load import load_recipe
from multigen.registry import register
from multigen.training import checkpoint as checkpoints


def not_finite(folder: Path) -> list[dict[str, Any]]:
    """Three steps that are skipped, and a fourth that stops the run; of loss and of gradient alone."""
    rows = []
    for fault in ("nan", "inf", "gradient"):
        for steps, wanted in (("11,12,13", 0), ("11,12,13,14", 1)):
            place = folder / f"{fault}-{wanted}"
            code, said = _child(place, fault, steps)
            ids = [line for line in said.splitlines() if "skipped" in line and line.count("digit") >= 4]
            newest = checkpoints.newest(runs.run_of(place) / "checkpoints")
            finite = newest is not None and all(
                t.isfinite().all()
                for part in checkpoints.load(newest).tensors.values()
                for t in part.values()
            )
            row = {"what": f"{fault} at steps {steps}", "ok": code == wanted and finite and len(ids) == 3}
            row |= {"exit": code, "skipped": len(ids), "all finite": finite}
            rows.append(row | {"said": runs.message(said)})
    return rows


def out_of_memory(folder: Path) -> list[dict[str, Any]]:
    """The process may have no more memory from a step on."""
    code, said = _child(folder, "memory", "12")
    last = runs.message(said)
    named = all(word in last for word in ("train.batch", "train.accumulate", "backbone.checkpoint"))
    newest = checkpoints.newest(runs.run_of(folder) / "checkpoints")
    good = newest is not None and newest.name == "step-00000010" and str(newest.name) in last
    row = {"what": "out of memory", "ok": code == 1 and named and good, "exit": code}
    return [row | {"said": last}]


def _child(folder: Path, fault: str, steps: str) -> tuple[int, str]:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(runs.RECIPE, encoding="utf-8")
    here = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults.limits", fault, steps],
        cwd=folder, env={**os.environ, "PYTHONPATH": here}, capture_output=True, text=True, timeout=runs.LIMIT,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


class _Bad:
    """Weights of the loss, 1 but at the bad steps; at a step each, for the batch is not cut."""

    def __init__(self, fault: str, steps: list[int]) -> None:
        self.fault, self.steps, self.calls = fault, steps, 0
        self.hook: RemovableHandle | None = None

    def __call__(self, denoiser: Any, t: Tensor) -> Tensor:
        step, self.calls = self.calls, self.calls + 1
        if self.hook is not None:
            self.hook.remove()
        weight = torch.ones_like(t)
        if step not in self.steps:
            return weight
        if self.fault == "gradient":  # the loss stays what it is
            parameter = next(denoiser.backbone.parameters())
            self.hook = parameter.register_hook(lambda grad: grad * float("nan"))
            return weight
        if self.fault == "memory":
            import resource

            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, used + 2**20))
            torch.ones(2**26)  # 256 MB, as a larger batch would take them
        return weight * float(self.fault)


def main(fault: str, steps: str) -> int:
    """Train tiny.yaml of the working folder under that fault; the exit code of the command."""
    from multigen.cli.arguments import show_log
    from multigen.runs.train import train

    bad = _Bad(fault, [int(s) for s in steps.split(",")])

    @register("objective", "bad")
    def objective(denoiser: Any, t: Tensor) -> Tensor:
        return bad(denoiser, t)

    show_log(True)
    try:
        train(load_recipe("tiny.yaml", ["train.objective.name=bad"]), device="cpu", quiet=True)
    except MultigenError as error:
        print(f"multigen: error: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2]))
