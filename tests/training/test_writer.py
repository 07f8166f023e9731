"""Saving beside the training: the state of its moment, one at a time, faults told, nothing lost at the end."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.errors import TrainingError
from multigen.storage.tensors import save_tensors
from multigen.training import checkpoint as checkpoints
from multigen.training.checkpoint import Checkpoint, files
from multigen.training.writer import Writer
from tests.training.toys import trainer


def of(step: int, value: torch.Tensor) -> Checkpoint:
    return Checkpoint({"weights": {"a": value}, "ema": {}, "optimizer": {}}, {"step": step, "bad": {}})


def read(folder: Path, step: int) -> Checkpoint:
    path = checkpoints.path_of(folder, step)
    assert checkpoints.verify(path) is None
    return checkpoints.load(path)


def test_what_changes_after_the_save_is_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, written = threading.Event(), save_tensors

    def late(path: Path, tensors: Any, metadata: Any = None) -> None:
        go.wait(10)
        written(path, tensors, metadata)

    monkeypatch.setattr(files, "save_tensors", late)
    value = torch.ones(1000)
    writer = Writer(tmp_path, keep=3)
    given = of(1, value)
    writer.save(1, given)
    value.add_(1.0)
    given.state["bad"]["late"] = "no"  # type: ignore[index]
    assert not checkpoints.found(tmp_path)  # still on its way while we go on
    go.set()
    writer.wait()
    found = read(tmp_path, 1)
    assert torch.equal(found.tensors["weights"]["a"], torch.ones(1000))
    assert found.state["bad"] == {}


def test_each_save_waits_for_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, written = [0], [0], save_tensors

    def slow(path: Path, tensors: Any, metadata: Any = None) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.01)
        written(path, tensors, metadata)
        inside[0] -= 1

    monkeypatch.setattr(files, "save_tensors", slow)
    with Writer(tmp_path, keep=0) as writer:
        for step in range(5):
            writer.save(step, of(step, torch.full((3,), float(step))))
    assert most == [1]
    for step in range(5):
        assert read(tmp_path, step).tensors["weights"]["a"][0] == step
    assert (tmp_path / "latest").read_text().strip() == "step-00000004"


def test_a_full_disk_stops_the_training_at_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = save_tensors

    def full(path: Path, tensors: Any, metadata: Any = None) -> None:
        if "00000010" in str(path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        written(path, tensors, metadata)

    monkeypatch.setattr(files, "save_tensors", full)
    t = trainer(tmp_path, steps=100000)
    inner = t.writer.check

    def check() -> None:  # gives the writer the time that a longer step would
        while t.step == 11 and t.writer._thread is not None and t.writer._thread.is_alive():
            time.sleep(0.01)
        inner()

    t.writer.check = check  # type: ignore[method-assign]
    with pytest.raises(
        TrainingError, match="step-00000010.*No space left.*Older checkpoints are intact"
    ) as e:
        t.run()
    assert e.value.code == 1 and t.step == 11
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["latest", "step-00000005"]


def test_a_fault_of_the_last_save_is_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, tensors: Any, metadata: Any = None) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save_tensors", full)
    with pytest.raises(TrainingError, match="step-00000003.*No space left"):
        trainer(tmp_path, steps=3).run()


def test_an_error_of_the_training_waits_for_the_writer_and_stays_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = save_tensors

    def slow(path: Path, tensors: Any, metadata: Any = None) -> None:
        time.sleep(0.05)
        written(path, tensors, metadata)

    monkeypatch.setattr(files, "save_tensors", slow)
    t = trainer(tmp_path, steps=100)
    inner = t._update

    def broken(batch: Any) -> dict[str, float]:
        if t.step == 5:
            raise RuntimeError("shapes do not go together")
        return inner(batch)

    t._update = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="shapes"):
        t.run()
    assert read(tmp_path / "checkpoints", 5).state["step"] == 5


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 1, of(1, torch.ones(3)), keep=1)
    with pytest.raises(TrainingError, match=r"no longer finite \(a\)"):
        checkpoints.save(tmp_path, 2, of(2, torch.tensor([1.0, float("inf")])), keep=1)
    assert checkpoints.newest(tmp_path) == checkpoints.path_of(tmp_path, 1)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_really_full_leaves_the_older_checkpoints(tmp_path: Path) -> None:
    """Then there is room again, and the training ends with the bits of one that met no fault."""
    disk, plain = tmp_path / "disk", trainer(tmp_path / "plain", steps=20, keep=10)
    disk.mkdir()
    plain.run()
    size = sum(p.stat().st_blocks * 512 for p in (tmp_path / "plain/checkpoints/step-00000005").iterdir())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={5 * size // 2}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with pytest.raises(TrainingError, match="No space left on device.*Older checkpoints are intact"):
            trainer(disk / "run", steps=20, keep=10).run()
        place = disk / "run" / "checkpoints"
        newest = checkpoints.newest(place)
        assert newest is not None and newest.name in ("step-00000005", "step-00000010")
        assert not [p.name for p in place.iterdir() if p.name.startswith(".")]
        subprocess.run(["mount", "-o", f"remount,size={20 * size}", str(disk)], check=True)
        again = trainer(disk / "run", steps=20, keep=10)
        again.restore(checkpoints.load(newest))
        again.run()
        one, other = (checkpoints.path_of(f / "checkpoints", 20) for f in (disk / "run", tmp_path / "plain"))
        assert checkpoints.digest(checkpoints.load(one)) == checkpoints.digest(checkpoints.load(other))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
