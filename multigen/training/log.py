"""The training log: JSON lines in the run folder, progress on stderr, boards (`training.boards`)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from multigen.modalities.media import Media
from multigen.progress import Progress
from multigen.recipe.schema import Train
from multigen.training import boards
from multigen.training.counters import share_done
from multigen.training.shown import shown

log = logging.getLogger(__name__)

FILE = "log.jsonl"
WAITING = 0.05  # share of time spent waiting for data above which a run warns
_SETTLED = 30.0  # s of training before it does


class Log:
    """Averages rows over `log_every` steps, and writes them to `log.jsonl`, the progress line and the boards.

    writes   False in ranks that write nothing
    """

    def __init__(self, folder: Path, settings: Train, *, quiet: bool, writes: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.settings, self.writes = folder / FILE, settings, writes
        self.quiet = quiet or not writes
        self._rows: list[dict[str, float]] = []
        self._seconds = self._waited = 0.0
        self._warned = False
        self._step = 0
        self._bar: Progress | None = None
        self._trained = 0.0
        self._boards: list[boards.Board] = []
        self._details: Callable[[], Mapping[str, float]] = dict

    @contextmanager
    def bar(self, step: int, seconds: float) -> Iterator[None]:
        """Show progress and open the boards inside the block. `step`, `seconds`: what was trained so far."""
        opened = boards.opened(self.path.parent, self.settings) if self.writes else nullcontext([])
        self._trained = seconds
        share = share_done(self.settings, step, seconds)
        bar = Progress("train", start=share, note=f"step {step}", quiet=self.quiet)
        with opened as self._boards, bar as self._bar:
            try:
                yield
            finally:
                self.flush()
                self._bar, self._boards = None, []

    def step(
        self,
        step: int,
        row: Mapping[str, float],
        *,
        items: int,
        seconds: float,
        waited: float,
        details: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Log one training step.

        row       its loss, learning rate and gradient norm
        items     items of its batch
        seconds   time that it took; `waited` of them were spent waiting for data
        details   returns the mean loss by component since the last call; called when a row is written
        """
        self._details = details
        self._rows.append({**row, "items": items, "seconds": seconds, "waited": waited})
        self._step = step
        self._watch_waiting(seconds, waited)
        self._trained += seconds
        if self._bar is not None:
            self._bar.at(
                share_done(self.settings, step, self._trained),
                self._note(row["loss"], items / max(seconds, 1e-9)),
            )
        if len(self._rows) >= self.settings.log_every:
            self._write_mean()

    def _note(self, loss: float, speed: float) -> str:
        """The text beside the progress."""
        share = self._waited / max(self._seconds, 1e-9)
        waiting = f", waiting {share:.0%}" if share > WAITING else ""
        return f"step {self._step}, loss {loss:.4f}, {speed:.1f} items/s{waiting}"

    def _watch_waiting(self, seconds: float, waited: float) -> None:
        """Warn once if reading slows training down. The first batch, for which readers start, does not count."""
        if self._seconds:
            self._waited += waited
        self._seconds += seconds
        share = self._waited / max(self._seconds, 1e-9)
        if self.writes and not self._warned and self._seconds > _SETTLED and share > WAITING:
            self._warned = True
            log.warning(
                "step %d: %.0f%% of the time is spent waiting for media. Use more reader processes: train.workers=%d",
                self._step, 100 * share, max(2, 2 * self.settings.workers),
            )  # fmt: skip

    def _write_mean(self) -> None:
        rows, self._rows = self._rows, []
        seconds = max(sum(r["seconds"] for r in rows), 1e-9)
        mean = {
            k: sum(r[k] for r in rows) / len(rows) for k in rows[0] if k not in ("items", "seconds", "waited")
        }
        mean["items_per_s"] = sum(r["items"] for r in rows) / seconds
        mean["waited"] = sum(r["waited"] for r in rows) / seconds
        levels = dict(self._details())
        self._write({"step": self._step, **mean, **({"levels": levels} if levels else {})})
        self._draw(self._step, "train", mean)
        self._draw(self._step, "train_level", levels)

    def held_out(self, step: int, row: Mapping[str, float]) -> None:
        """Log a held-out loss: "mean" and its components."""
        self._write({"step": step, "held_out": dict(row)})
        log.info("step %d: held-out loss %.4f", step, row["mean"])
        self._draw(step, "held_out", row)

    def preview(self, step: int, media: Sequence[Media]) -> None:
        """Show media that the averaged weights made on the boards."""
        if not self._boards:
            return
        found = shown(media)
        for board in self._boards:
            board.show(step, found)

    def flush(self) -> None:
        """Write everything to disk."""
        if self._rows:
            self._write_mean()
        for board in self._boards:
            board.flush()

    def _draw(self, step: int, group: str, values: Mapping[str, float]) -> None:
        for board in self._boards:
            board.write(step, {f"{group}/{key}": value for key, value in values.items()})

    def _write(self, row: Mapping[str, Any]) -> None:
        if not self.writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(dumps(row) + "\n")


def dumps(row: Mapping[str, Any]) -> str:
    """Return a row as a line of JSON."""
    return json.dumps(row)


def read(folder: Path, *, until: int | None = None) -> list[dict[str, Any]]:
    """Read the rows of a run's log up to step `until`. Incomplete lines and anything else are ignored."""
    path = folder / FILE
    rows = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return [r for r in rows if until is None or r["step"] <= until]
