"""The training log: JSON lines in the run folder, a progress bar, TensorBoard where it is installed."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from multigen.recipe import Train

FILE = "log.jsonl"


class Log:
    """Averages rows over `log_every` steps and writes them to `log.jsonl`, the bar and TensorBoard."""

    def __init__(self, folder: Path, *, quiet: bool, tensorboard: bool, every: int = 10) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.quiet, self.every = folder / FILE, quiet, every
        self._rows: list[dict[str, float]] = []
        self._bar: tqdm[Any] | None = None
        self._minutes: float | None = None
        self._board: Any = None
        if tensorboard and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    @contextmanager
    def bar(self, settings: Train, step: int, seconds: float) -> Iterator[None]:
        """The progress bar: step, loss, items/s, time left."""
        self.every, self._minutes = settings.log_every, settings.minutes
        by_time = settings.minutes is not None and settings.steps is None
        total = round(60 * settings.minutes) if by_time and settings.minutes else settings.steps
        form = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        self._by_time = by_time
        with tqdm(
            total=total,
            initial=round(seconds) if by_time else step,
            desc="train (s)" if by_time else "train",
            disable=self.quiet or None if sys.stderr.isatty() else self.quiet,
            mininterval=0.5 if sys.stderr.isatty() else 20,
            bar_format=form,
            dynamic_ncols=True,
        ) as self._bar:
            self._seconds = seconds
            try:
                yield
            finally:
                self.flush()
                self._bar = None

    def step(self, step: int, row: Mapping[str, float], *, items: int, seconds: float, waited: float) -> None:
        self._rows.append({**row, "items": items, "seconds": seconds, "waited": waited})
        if self._bar is not None:
            self._seconds += seconds
            total = self._bar.total or 0
            forward = round(self._seconds) - self._bar.n if self._by_time else 1
            speed = items / max(seconds, 1e-9)
            self._bar.set_postfix_str(
                f" step {step}, loss {row['loss']:.4f}, {speed:.1f} items/s", refresh=False
            )
            self._bar.update(max(min(forward, total - self._bar.n), 0))
        if len(self._rows) >= self.every:
            self._write_mean(step)
        self._last = step

    def _write_mean(self, step: int) -> None:
        rows, self._rows = self._rows, []
        seconds = sum(r["seconds"] for r in rows)
        mean = {
            k: sum(r[k] for r in rows) / len(rows) for k in rows[0] if k not in ("items", "seconds", "waited")
        }
        mean["items_per_s"] = sum(r["items"] for r in rows) / max(seconds, 1e-9)
        mean["waited"] = sum(r["waited"] for r in rows) / max(seconds, 1e-9)
        self._write({"step": step, **mean})
        if self._board is not None:
            for key, value in mean.items():
                self._board.add_scalar(f"train/{key}", value, step)

    def held_out(self, step: int, row: Mapping[str, float]) -> None:
        self._write({"step": step, "held_out": dict(row)})
        if self._bar is not None and not self.quiet:
            tqdm.write(f"step {step}: held-out loss {row['mean']:.4f}", file=sys.stderr)
        if self._board is not None:
            for key, value in row.items():
                self._board.add_scalar(f"held_out/{key}", value, step)

    def flush(self) -> None:
        if self._rows:
            self._write_mean(self._last)
        if self._board is not None:
            self._board.flush()

    def _write(self, row: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(dumps(row) + "\n")


class Handler(logging.Handler):
    """Log records to stderr, above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def to_stderr(*, quiet: bool) -> None:
    """Show multigen's own log on stderr: what it does, or with `quiet` only what went wrong."""
    logger = logging.getLogger("multigen")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    if not any(isinstance(h, Handler) for h in logger.handlers):
        logger.addHandler(Handler())


def dumps(row: Mapping[str, Any]) -> str:
    return json.dumps(row)


def read(folder: Path, *, until: int | None = None) -> list[dict[str, Any]]:
    """The rows of a run's log, those after step `until` left out; a torn last line is ignored."""
    path = folder / FILE
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return [r for r in rows if until is None or r["step"] <= until]
