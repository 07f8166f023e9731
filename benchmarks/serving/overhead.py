"""What HTTP adds to a call of Python, one request at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import multigen
from benchmarks.serving.servers import quartiles, row, serving

BLOCK = 6  # requests of one way in a row; the first does not count, since the other process has just left the cores


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Differences between `Model.generate` in this process and the server's answer, in blocks that take turns."""
    rows = []
    plans = (("image_emoji", "red apple", 4), ("image_digits", "3", 20))
    blocks = 2 if quick else 5
    with serving([name for name, *_ in plans], folder / "overhead") as server:
        for name, prompt, steps in plans:
            model = multigen.load(name, device="cpu")
            ways: dict[str, Callable[[int], object]] = {
                "python": lambda seed: model.generate(prompt, n=1, seed=seed, steps=steps),  # noqa: B023
                "http": lambda seed: server.make(model=name, prompt=prompt, steps=steps, seed=seed),  # noqa: B023
            }
            for seed in range(2):  # both warm up
                for make in ways.values():
                    make(seed)
            differences, alone = [], []
            for block in range(blocks):
                taken = {way: _block(ways[way]) for way in sorted(ways, reverse=bool(block % 2))}
                differences += [1000 * (a - b) for a, b in zip(taken["http"], taken["python"], strict=True)]
                alone += [1000 * seconds for seconds in taken["python"]]
            middle = statistics.median(differences)
            what = f"overhead over Python, {name}, {steps} steps of {statistics.median(alone):.0f} ms in all"
            rows.append(row(what, middle, "ms", "<= 15", met=middle <= 15, spread=quartiles(differences)))
    return rows


def _block(make: Callable[[int], object]) -> list[float]:
    """Seconds of each request but the first."""
    seconds = []
    for seed in range(BLOCK):
        begin = time.perf_counter()
        make(seed)
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]
