"""The parts, each measured by itself and kept in a file, so that a run that is cut goes on."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multigen.storage.files import write_json

DEFAULT = ("overhead", "throughput", "fairness", "loop", "faults", "hostile")
PARTS = (*DEFAULT, "soak")
STATE = Path("serving.parts.json")

Rows = list[dict[str, Any]]


def measured(
    parts: Sequence[str],
    *,
    quick: bool = False,
    resume: bool = False,
    minutes: float = 10.0,
    state: Path = STATE,
) -> Rows:
    """The rows of some parts. With `resume` those that the file `state` has already are not measured again."""
    kept: dict[str, Rows] = json.loads(state.read_text()) if resume and state.is_file() else {}
    for name in parts:
        if name in kept:
            continue
        print(f" {name} ...", file=sys.stderr, flush=True)
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"multigen-{name}-", ignore_cleanup_errors=True) as folder:
            kept[name] = _rows(name, Path(folder), quick, minutes)
        print(f" {name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        write_json(state, kept)
    return [{"part": name, **row} for name in parts for row in kept[name]]


def _rows(name: str, folder: Path, quick: bool, minutes: float) -> Rows:
    measure = importlib.import_module(f"benchmarks.serving.{name}").measure
    try:
        return measure(folder, quick, minutes) if name == "soak" else measure(folder, quick)
    except Exception as error:  # one part that fails is a verdict on that part, not the end of the others
        said = f"{type(error).__name__}: {error}"[:500]
        print(f" {name}: {said}", file=sys.stderr, flush=True)
        return [{"what": name, "figure": "-", "unit": "", "bar": "", "verdict": "FAILED", "spread": said}]
