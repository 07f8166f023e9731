"""Faults injected for real into trainings on the CPU, by the command that a user types: what was lost, what was said.

`python -m benchmarks.faults [ROW ...]` prints the table and ends with 1 if any row failed. `ok`: whether the row holds
what it names. The row `rank` is `python -m benchmarks.ranks`, with a row for each kill.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.faults import limits, rot, saving, stops

# Each makes its rows in a scratch folder of its own.
FAULTS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "kill": saving.killed,
    "disk": saving.full,
    "rot": rot.rotten,
    "signals": stops.signals,
    "nan": limits.not_finite,
    "memory": limits.out_of_memory,
    "lock": stops.lock,
    "rank": stops.rank,
}


def measure(names: Iterable[str] = FAULTS) -> list[dict[str, Any]]:
    """The rows of these faults."""
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            start = time.perf_counter()
            made = FAULTS[name](Path(scratch))
            for row in made:
                print(f"{name}: {row}", file=sys.stderr, flush=True)
            rows += [{"fault": name, **row} for row in made]
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return rows
