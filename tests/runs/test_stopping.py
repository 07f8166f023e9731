"""Commands stopped for real: what is finished stays, whatever comes next; the same command makes the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.cli.main import main
from multigen.modalities.image import Image
from multigen.progress import Progress
from multigen.recipe.manifest import verify
from multigen.runs.media_set import MediaSet

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")]

TOTAL = 5
# Enough steps that a medium takes a while, one at a time, so that a signal comes between two.
SLOW = ["sample.steps=20", "sample.batch=1", "--quiet", "--device", "cpu"]
PROMPTS = [word for k in range(TOTAL) for word in ("--prompt", str(k))]
COMMANDS = {
    "sample": ["sample", "image_digits", "--prompt", "7", "-n", str(TOTAL), "--seed", "5", *SLOW],
    "run": ["run", "image_digits", "sample.prompts=['7']", f"sample.n={TOTAL}", *SLOW],
    "edit": ["edit", "image_digits", "--input", "digit.png", *PROMPTS, "--strength", "1", *SLOW],
    "per-class": ["sample", "image_digits", "--per-class", "1", *SLOW],
}
STOPS = [
    ("sample", signal.SIGINT),
    ("sample", signal.SIGTERM),
    ("sample", signal.SIGKILL),
    ("run", signal.SIGTERM),
    ("run", signal.SIGKILL),
    ("edit", signal.SIGINT),
    ("per-class", signal.SIGKILL),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    picture = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    Image(size=28, channels=1).write(picture, Path("digit.png"))
    return tmp_path


def entries(folder: Path) -> list[dict[str, Any]]:
    try:
        return json.loads((folder / "manifest.json").read_text())["files"]
    except FileNotFoundError:
        return []


def started(argv: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "multigen", *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stopped(argv: list[str], folder: Path, signum: int, *, after: int = 2) -> tuple[int, str]:
    """Run a command until so many media are finished, then send a signal; its exit code and stderr."""
    process = started(argv)
    until = time.monotonic() + 120
    while len(entries(folder)) < after:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


@pytest.mark.parametrize(("name", "signum"), STOPS, ids=str)
def test_what_is_finished_stays_and_the_same_command_makes_the_rest(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, signum: signal.Signals
) -> None:
    folder, argv = here / "out", [*COMMANDS[name], "--out", "out"]
    code, stderr = stopped(argv, folder, signum)
    total = 10 if name == "per-class" else TOTAL
    if signum == signal.SIGKILL:
        assert code == -signum
    else:
        assert code == 128 + signum
        assert f"stopped after {len(entries(folder))} of {total}: out/media; go on with --resume" in stderr
    assert "Traceback" not in stderr
    finished = entries(folder)
    assert 2 <= len(finished) < total
    assert verify(folder) == []
    before = content(folder)
    assert {entry["file"] for entry in finished} <= before.keys()
    # Another command replaces nothing, and says how it differs.
    other = [*argv, "--steps", "2"] if name != "run" else [*argv, "sample.steps=2"]
    assert main(other) == 2
    assert "steps: " in capsys.readouterr().err
    assert content(folder) == before
    assert main([*argv, "--resume"]) == 0
    made = entries(folder)
    assert [entry["place"] for entry in made] == list(range(total))
    assert [entry["seed"] for entry in made] == [made[0]["seed"] + k for k in range(total)]
    assert verify(folder) == []
    assert all(content(folder)[entry["file"]] == before[entry["file"]] for entry in finished)
    # What an uninterrupted command makes is the same, byte for byte but for the signatures.
    assert main([*COMMANDS[name], "--out", "whole"]) == 0
    assert [e["unsigned_sha256"] for e in entries(here / "whole")] == [e["unsigned_sha256"] for e in made]
    assert not [p for p in folder.rglob(".*") if p.name != ".lock"]
    capsys.readouterr()


def test_without_out_the_newest_stopped_folder_is_gone_on_with(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = COMMANDS["sample"]
    first = here / "runs" / "image_digits" / "samples-1"
    code, stderr = stopped(argv, first, signal.SIGINT)
    assert (code, stderr.count("go on with --resume")) == (130, 1)
    assert main([*argv, "--steps", "3", "--resume"]) == 2
    said = capsys.readouterr().err
    assert "--resume: no command with these settings was stopped" in said
    assert "samples-1 was stopped, but asked for another thing: steps: None -> 3" in said
    assert not (here / "runs" / "image_digits" / "samples-2").exists()
    assert main([*argv, "--resume"]) == 0
    assert capsys.readouterr().out == "runs/image_digits/samples-1\n"
    assert len(entries(first)) == TOTAL
    assert main([*argv[:5], "1", "--steps", "1", *argv[6:]]) == 0  # a new command has a new folder
    assert capsys.readouterr().out == "runs/image_digits/samples-2\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_command_that_is_stopped_before_its_first_medium_leaves_no_folder(
    here: Path, signum: signal.Signals
) -> None:
    """Not even killed; and while it works, another command on the same folder is refused."""
    argv = ["sample", "image_digits", "--prompt", "7", "-n", "8", "--steps", "100000", "--device", "cpu"]
    process = started([*argv, "--out", "deep/out"])
    assert process.stderr is not None
    for line in process.stderr:
        if "8 media on cpu" in line:
            break
    time.sleep(0.3)
    assert not Path("deep").exists()
    assert main([*argv, "--out", "deep/out", "--quiet"]) == 2
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum)
    assert "Traceback" not in stderr
    if signum != signal.SIGKILL:
        assert "stopped after 0 of 8: nothing was finished" in stderr
    assert not Path("deep").exists()


def test_two_commands_at_once_never_share_a_folder(here: Path) -> None:
    """One of two in a folder of the user's is refused; two new folders are two."""
    argv = ["sample", "image_digits", "--prompt", "7", "-n", "2", "sample.steps=4", "--quiet"]
    pair = [started([*argv, "--out", "same"]), started([*argv, "--seed", "9", "--out", "same"])]
    ended = [(p.communicate(timeout=120), p.returncode) for p in pair]
    assert sorted(code for _, code in ended) == [0, 2]
    (refused,) = [said[1] for said, code in ended if code == 2]
    assert "another multigen command is" in refused or "holds media of another command (seed: " in refused
    assert (len(entries(here / "same")), verify(here / "same")) == (2, [])
    pair = [started(argv), started(argv)]
    folders = {p.communicate(timeout=120)[0].strip() for p in pair}
    assert folders == {"runs/image_digits/samples-1", "runs/image_digits/samples-2"}


def test_media_come_a_few_at_a_time_on_a_cpu(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a command that is stopped loses the work of a few, whatever `sample.batch` is."""
    queries, finished = [0], list[int]()
    real = MediaSet.add

    def called(self: Progress, count: int = 1) -> None:
        queries[0] += count

    def add(self: MediaSet, *args: Any, **kwargs: Any) -> None:
        finished.append(queries[0])
        real(self, *args, **kwargs)

    monkeypatch.setattr(Progress, "called", called)
    monkeypatch.setattr(MediaSet, "add", add)
    total = 3 * max(4, torch.get_num_threads())
    argv = ["sample", "image_digits", "--prompt", "7", "-n", str(total), "--steps", "3", "--quiet"]
    assert main([*argv, "--device", "cpu", "sampler.name=ddim", "sample.batch=64"]) == 0
    assert len(finished) == total
    assert 0 < finished[0] <= queries[0] / 3
