"""How files divide into items: a long sound or video counts as several segments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_TOLERANCE = 0.01  # share of a segment that a file may lack for its last segment, since headers round


class Segments:
    """Items of files of given durations.

    durations  seconds of each file
    seconds    natural duration of the modality; 0 for media without time, whose files are one item each
    step       seconds from the start of one segment to that of the next
    """

    def __init__(self, durations: Sequence[float] | np.ndarray, seconds: float, step: float) -> None:
        self.durations = np.asarray(durations, np.float64)
        self._seconds, self._step = seconds, step
        counts = [self.count(float(d)) for d in self.durations]
        self._ends = np.cumsum(np.asarray(counts, np.int64))  # number of items up to and including each file

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def files(self) -> int:
        """Number of files."""
        return len(self._ends)

    def count(self, duration: float) -> int:
        """Number of segments of a file of `duration` seconds, at least 1."""
        if not self._seconds or duration <= self._seconds:
            return 1
        return 1 + math.floor((duration - self._seconds) / self._step + _TOLERANCE)

    def place(self, index: int) -> tuple[int, int]:
        """The file and the segment of an item. IndexError if there is no such item."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        file = int(np.searchsorted(self._ends, index, side="right"))
        return file, index - (int(self._ends[file - 1]) if file else 0)

    def span(self, file: int, k: int, seconds: float) -> tuple[float, float]:
        """Earliest and latest start, in s, of a span of `seconds` for segment k; the last one takes the rest."""
        duration = float(self.durations[file])
        last = max(0.0, duration - seconds)
        first = min(k * self._step, last)
        ends = k + 1 >= self.count(duration)
        return first, last if ends else min((k + 1) * self._step, last)

    def name(self, file: int, k: int, name: str) -> str:
        """The name of an item: the file's, with the start of the segment if the file has several."""
        several = self.count(float(self.durations[file])) > 1
        return f"{name}@{k * self._step:g}s" if several else name

    def split(self, held_files: set[int]) -> tuple[list[int], list[int]]:
        """Training and held-out items; all segments of a file stay on one side."""
        counts = np.diff(self._ends, prepend=0).astype(np.int64)
        out = np.repeat(np.isin(np.arange(self.files), sorted(held_files)), counts)
        return np.flatnonzero(~out).tolist(), np.flatnonzero(out).tolist()
