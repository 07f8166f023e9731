"""Check the files of a checkpoint against its manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multigen.errors import reason
from multigen.storage.files import sha256

MANIFEST = "manifest.json"
STATE = "state.json"
_NEEDED = frozenset({STATE, "weights.safetensors", "ema.safetensors", "optimizer.safetensors"})


def step_of(path: Path) -> int:
    """Return the step of a checkpoint, from its name."""
    return int(path.name.removeprefix("step-"))


def verify(path: Path, needed: frozenset[str] = _NEEDED) -> str | None:
    """Return what is wrong with a checkpoint, or None. `needed`: files that its manifest must list."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if absent := sorted(needed - manifest.keys()):
            return f"{MANIFEST} does not list {', '.join(absent)}"
        for name, facts in manifest.items():
            file = path / name
            if Path(name).name != name or not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != facts["bytes"]:
                return f"{name} has {file.stat().st_size:,} bytes, not {facts['bytes']:,}"
            if sha256(file) != facts["sha256"]:
                return f"{name} does not match its checksum"
        return _impossible(json.loads((path / STATE).read_text(encoding="utf-8")), step_of(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} or {STATE} is unreadable ({reason(error)})"


def _impossible(state: Mapping[str, Any], step: int) -> str | None:
    """Return what no training can have written, even with a correct checksum."""
    if state["step"] != step or isinstance(state["step"], bool):
        return f"{STATE} contains step {state['step']!r}"
    seconds = state.get("seconds", 0.0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        return f"{STATE} contains {seconds!r} seconds"
    return None
