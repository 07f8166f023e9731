"""Timing two things fairly: interleaved repeats in one process, so that both see the same machine."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(
    what: str,
    multigen: Callable[[], object],
    peer: Callable[[], object] | None = None,
    peer_name: str = "",
    *,
    repeats: int = 9,
    warmup: int = 2,
) -> dict[str, Any]:
    """A row: medians in seconds, the median ratio of neighbouring runs, and the spread of those ratios.

    The two take turns at going first. `spread` is half the distance between the quartiles of the ratios; without a
    peer, of multigen's seconds over their median.
    """
    mine: list[float] = []
    theirs: list[float] = []
    for i in range(warmup + repeats):
        turns = [(multigen, mine)] if peer is None else [(multigen, mine), (peer, theirs)]
        for function, into in reversed(turns) if i % 2 else turns:
            into.append(seconds(function))
    mine, theirs = mine[warmup:], theirs[warmup:]
    median = statistics.median(mine)
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)] if peer else [a / median for a in mine]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    ratio = statistics.median(ratios) if peer else None
    print(
        f"  {what}: {median:.4g} s" + (f", ratio {ratio:.3f}" if ratio else ""), file=sys.stderr, flush=True
    )
    return {
        "what": what,
        "multigen": median,
        "peer": statistics.median(theirs) if peer else None,
        "peer_name": peer_name,
        "ratio": ratio,
        "spread": (high - low) / 2,
        "unit": "s",
    }
