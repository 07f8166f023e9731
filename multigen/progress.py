"""Progress and the log on stderr.

In a terminal progress is a bar; elsewhere it is a plain line at the start, at each tenth and at the end.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

_PACKAGE, _usual = Path(__file__).parent, warnings.formatwarning
_BAR = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
_TENTHS = 10


class Progress:
    """How far one piece of work has come. Use it as a context manager.

    title   the first word of the line: "sample"
    total   how many things are made
    unit    what they are: "media"
    start   share of the work that an earlier process has done, 0 to 1
    note    what to show beside it at first; by default how many things are done
    quiet   show nothing
    """

    def __init__(
        self,
        title: str,
        total: int = 1,
        unit: str = "media",
        *,
        start: float = 0.0,
        note: str = "",
        quiet: bool = False,
    ) -> None:
        self.total, self.unit, self.share = total, unit, start
        self.calls: float | None = None
        self._done = self._called = 0
        self._lock = threading.Lock()  # things are done in many threads
        self._note = note or self._counted()
        self._display: _Bar | _Lines | None = None
        if not quiet:
            self._display = (_Bar if sys.stderr.isatty() else _Lines)(title, start, self._note)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.close(complete=kind is None)
            self._display = None

    def expect(self, calls: int | None, things: int) -> None:
        """Report that so many network calls make so many of the things; the rest are expected to take as many each.

        From then on progress counts calls, so that it moves, and knows the time left, before the first thing is done.
        With None, the number of calls is not known, and things alone count.
        """
        self.calls = None if calls is None else self.total * calls / max(things, 1)

    def advance(self, n: int = 1) -> None:
        """Report that `n` more things are done."""
        with self._lock:
            self._done += n
            things_alone = self.calls is None or self._done >= self.total
            share = min(self._done / max(self.total, 1), 1.0) if things_alone else self.share
            self.at(max(share, self.share), self._counted())

    def called(self, n: int = 1) -> None:
        """Report that `n` more network calls were answered."""
        with self._lock:
            self._called += n
            if self.calls is None:
                self.at(self.share, f"{self._counted()}, {self._called} network calls")
                return
            # The number is an estimate; whatever it was, the last thing done makes the share 1.
            self.at(max(min(self._called / max(self.calls, 1), 0.99), self.share), self._counted())

    def at(self, share: float, note: str) -> None:
        """Report the share that is done, 0 to 1, and what to show beside it."""
        self.share, self._note = share, note
        if self._display is not None:
            self._display.show(share, note)

    def _counted(self) -> str:
        return f"{self._done} of {self.total} {self.unit}"


class _Bar:
    """A bar in a terminal."""

    def __init__(self, title: str, share: float, note: str) -> None:
        self._bar = tqdm(
            total=1.0, initial=share, desc=title, file=sys.stderr, dynamic_ncols=True, bar_format=_BAR,  # pyright: ignore[reportArgumentType]
            mininterval=0.2, miniters=0, smoothing=0.1, postfix=note,
        )  # fmt: skip

    def show(self, share: float, note: str) -> None:
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(share - self._bar.n)

    def close(self, *, complete: bool) -> None:
        self._bar.leave = complete or self._bar.n > 0
        self._bar.close()


class _Lines:
    """Plain lines, for a log file."""

    def __init__(self, title: str, share: float, note: str) -> None:
        self._title, self._share, self._note = title, share, note
        self._first, self._began = share, time.monotonic()
        self._tenth, self._finished = int(share * _TENTHS), False
        print(f"{title}: {note}", file=sys.stderr, flush=True)

    def show(self, share: float, note: str) -> None:
        self._share, self._note = share, note
        # 0.3 * 10 falls just short of 3 in floating point.
        tenth = int(share * _TENTHS + 1e-9)
        if tenth > self._tenth:
            self._tenth = tenth
            self._line()

    def _line(self) -> None:
        passed = time.monotonic() - self._began
        times = clock(passed)
        if self._share - self._first > 0 and self._share < 1:
            times += f", {clock(passed * (1 - self._share) / (self._share - self._first))} left"
        self._finished = self._share >= 1
        text = f"{self._title}: {self._share:.0%}, {self._note} [{times}]"
        print(text, file=sys.stderr, flush=True)

    def close(self, *, complete: bool) -> None:
        if complete and not self._finished:
            self._line()


def clock(seconds: float) -> str:
    """Seconds as people read them: 0:05, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class LogHandler(logging.Handler):
    """Log records on stderr, above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        tqdm.write(self.format(record), file=sys.stderr)


def show_log(*, quiet: bool) -> None:
    """Show multigen's own log on stderr: what it does, or with `quiet` only what went wrong."""
    logger = logging.getLogger("multigen")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    if not any(isinstance(h, LogHandler) for h in logger.handlers):
        logger.addHandler(LogHandler())
    warnings.formatwarning = _one_line


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of multigen's own without the place in the code; others as Python shows them."""
    if issubclass(category, UserWarning) and Path(filename).is_relative_to(_PACKAGE):
        return f"multigen: warning: {message}\n"
    return _usual(message, category, filename, lineno, line)
