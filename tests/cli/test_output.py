"""What a command prints: progress that moves from the first seconds, what was made and what to open, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from multigen.cli.main import main
from tests.runs.test_train import TINY


def shares(lines: list[str], title: str) -> list[int]:
    """The percentages of the lines of progress."""
    return [int(m[1]) for line in lines if (m := re.match(rf"{title}: (\d+)%", line))]


SAMPLE = ["sample", "image_digits", "--device", "cpu", "--steps", "20", "--out", "out"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("more", [["--prompt", "3", "-n", "1"], ["--prompts", "lines.txt"]])
def test_sampling_shows_a_dozen_lines_and_what_to_open(
    more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One request, or forty of different lengths: as many lines, and they begin before the first medium is done."""
    rows = [f'{{"prompt": "{k % 10}", "steps": {4 + k % 3}}}' for k in range(40)]
    Path("lines.txt").write_text("\n".join(rows))
    total = 40 if "--prompts" in more else 1
    assert main([*SAMPLE, *more, *(["-n", "1"] if total > 1 else [])]) == 0
    out, err = capsys.readouterr()
    assert out == "out\n"
    lines = err.splitlines()
    assert lines[0] == f"sample: 0 of {total} media"
    found = shares(lines, "sample")
    assert found == sorted(found) and found[-1] == 100 and 8 <= len(found) <= 11
    assert found[0] < 20 and f", 0 of {total} media [" in next(line for line in lines if "%" in line)
    assert len(lines) <= 14
    assert lines[-1] == f"{total} media in {Path('out/media')}. Open {Path('out/report.html')}"
    assert re.search(r"left\]$", next(line for line in lines if "%" in line))


def test_quiet_prints_the_result_folder_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SAMPLE, "--prompt", "3", "-n", "1", "--quiet"]) == 0
    assert capsys.readouterr() == ("out\n", "")


def test_training_shows_the_nearer_of_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps and minutes both end a training: here the steps do, long before the minutes."""
    settings = [*TINY, "train.steps=20", "train.minutes=60", "--device", "cpu", "--out", "run"]
    assert main(["train", "image_digits", *settings]) == 0
    out, err = capsys.readouterr()
    assert out == "run\n"
    lines = err.splitlines()
    found = shares(lines, "train")
    assert found == list(range(10, 101, 10))
    assert re.search(r"train: 50%, step 10, loss \d+\.\d+, .* items/s(, .*)? \[\d+:\d+, \d+:\d+ left\]", err)
    assert lines[-1] == f"image_digits is trained; its run folder is run. Open {Path('run/report.html')}"


def test_a_labelled_set_says_how_many_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sample", "image_digits", "--per-class", "1", "--steps", "2", "--device", "cpu", "--out", "set"]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert out == "set\n"
    assert err.splitlines()[-1] == "10 media of 10 classes in set"
