"""What HTTP adds to a call of Python, one request at a time."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import multigen
from benchmarks.serving.servers import quartiles, row, serving


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """The median difference of neighbouring requests: `Model.generate` in this process, and the server's answer."""
    rows = []
    plans = (
        ("image_emoji", "red apple", 4, 5 if quick else 15),
        ("image_digits", "3", 20, 5 if quick else 15),
    )
    with serving([name for name, *_ in plans], folder / "overhead") as server:
        for name, prompt, steps, pairs in plans:
            model = multigen.load(name, device="cpu")
            differences, alone = [], []
            for k in range(pairs + 2):
                body = {"model": name, "prompt": prompt, "steps": steps, "seed": k}
                taken: dict[str, float] = {}
                for turn in ("python", "http") if k % 2 else ("http", "python"):
                    begin = time.perf_counter()
                    if turn == "python":
                        model.generate(prompt, n=1, seed=k, steps=steps)
                    else:
                        server.make(**body)
                    taken[turn] = time.perf_counter() - begin
                if k > 1:  # the first two warm up
                    differences.append(1000 * (taken["http"] - taken["python"]))
                    alone.append(1000 * taken["python"])
            middle = statistics.median(differences)
            what = f"overhead over Python, {name}, {steps} steps of {statistics.median(alone):.0f} ms in all"
            rows.append(row(what, middle, "ms", "<= 15", met=middle <= 15, spread=quartiles(differences)))
    return rows
