"""The server's bars: `multigen serve` as a process, real clients, on this machine.

A row is a figure, its bar, and whether it is met; `spread` says what else was seen. The order of servers changes from
round to round. Memory is that of the process with its children. The soak takes its own time and is asked for by
itself: `python -m benchmarks.serving soak`.
"""

from __future__ import annotations

from typing import Any

from benchmarks.serving.parts import DEFAULT, measured


def measure() -> list[dict[str, Any]]:
    """All parts but the soak."""
    return measured(DEFAULT)
