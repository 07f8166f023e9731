"""Time on a device: events around each call, so that what is queued is not counted; medians and their spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch


class Timing(NamedTuple):
    """Seconds: the median of the calls, and half the distance between the quartiles over it."""

    median: float
    spread: float


def timed(
    call: Callable[[], object], device: torch.device, *, seconds: float = 1.0, most: int = 100
) -> Timing:
    """Call again and again for about so many seconds, at least 5 times, after one call to warm up."""
    call()
    found: list[float] = []
    begin = time.monotonic()
    while len(found) < 5 or (len(found) < most and time.monotonic() - begin < seconds):
        found.append(_events(call, device) if device.type == "cuda" else _wall(call))
    median = statistics.median(found)
    low, _, high = statistics.quantiles(found, n=4)
    return Timing(median, (high - low) / 2 / median)


def wall(call: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _events(call: Callable[[], object], device: torch.device) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def _wall(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak(device: torch.device) -> float | None:
    """GiB that were taken at most since the last call of `forget_peak`."""
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
