"""Progress: it moves with network calls, is a dozen lines in a log file and a bar in a terminal."""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings

import pytest

from multigen import progress as module
from multigen.progress import Progress, clock, show_log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the lines, which the test sets."""
    time = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: time[0])
    return time


def test_a_log_file_gets_a_line_at_the_start_at_each_tenth_and_at_the_end(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    with Progress("sample", 4) as progress:
        progress.expect(400, 4)
        for call in range(400):
            now[0] = (call + 1) / 10
            progress.called()
            if call % 100 == 99:
                progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "sample: 0 of 4 media"
    assert lines[1] == "sample: 10%, 0 of 4 media [0:04, 0:36 left]"  # before the first medium is done
    assert [int(line.split()[1].rstrip("%,")) for line in lines[1:]] == list(range(10, 101, 10))
    assert lines[-1] == "sample: 100%, 4 of 4 media [0:40]"


def test_calls_that_are_underestimated_do_not_end_it_early(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("sample", 2) as progress:
        progress.expect(5, 1)  # of each, so 10
        for _ in range(100):
            progress.called()
        assert progress.share == 0.99
        progress.advance(2)
        assert progress.share == 1.0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + 10
    assert lines[-1].startswith("sample: 100%, 2 of 2 media")


def test_without_a_number_of_calls_things_count(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("pack", 3) as progress:
        progress.called(5)
        progress.advance(2)
        assert progress.share == pytest.approx(2 / 3)
        progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" [")[0] for line in lines] == [
        "pack: 0 of 3 media",
        "pack: 67%, 2 of 3 media",
        "pack: 100%, 3 of 3 media",
    ]


def test_work_that_goes_on_knows_the_time_left(capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
    with Progress("train", start=0.5, note="step 50") as progress:
        now[0] = 30.0
        progress.at(0.75, "step 75, loss 0.1")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: step 50"
    assert lines[1] == "train: 75%, step 75, loss 0.1 [0:30, 0:30 left]"  # a quarter took 30 s


def test_work_that_fails_says_nothing_of_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Progress("sample", 4) as progress:
            progress.advance()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capsys.readouterr().err.splitlines()[-1].startswith("sample: 25%, 1 of 4 media")


def test_quiet_shows_nothing_and_counts_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("sample", 4, quiet=True) as progress:
        progress.expect(8, 4)
        progress.called(4)
        assert progress.share == 0.5
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_moves_with_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    with Progress("sample", 1) as progress:
        progress.expect(4, 1)
        for _ in range(4):
            progress.called()
            assert progress._display is not None
            progress._display._bar.refresh()  # type: ignore[union-attr]
    shown = re.findall(r"sample +(\d+)%", screen.getvalue())
    assert {"0", "25", "50", "75"} <= set(shown)
    assert "0 of 1 media" in screen.getvalue()


def test_clock() -> None:
    assert [clock(s) for s in (0.4, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]


def test_the_log_is_shown_once_and_warnings_without_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    usual, logger = warnings.formatwarning, logging.getLogger("multigen")
    handlers, level = list(logger.handlers), logger.level
    try:
        for _ in range(2):
            show_log(quiet=False)
        logger.info("made")
        show_log(quiet=True)
        logger.info("not shown")
        assert capsys.readouterr().err == "made\n"
        text = warnings.formatwarning("too long", UserWarning, module.__file__, 1)
        assert text == "multigen: warning: too long\n"
        assert "elsewhere.py:1" in warnings.formatwarning("x", UserWarning, "elsewhere.py", 1)
    finally:
        warnings.formatwarning = usual
        logger.handlers[:] = handlers
        logger.setLevel(level)
