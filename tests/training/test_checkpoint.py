"""Checkpoints: whole or not at all, verified, broken ones stepped over."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from multigen.errors import MultigenError, TrainingError
from multigen.training import checkpoint as checkpoints
from multigen.training.checkpoint import Checkpoint


def save(folder: Path, step: int, keep: int = 3) -> Path:
    tensors = {
        "weights": {"a": torch.full((100,), float(step))},
        "ema": {"a": torch.zeros(3)},
        "optimizer": {},
    }
    return checkpoints.save(folder, step, Checkpoint(tensors, {"step": step}), keep=keep)


def test_round_trip_and_keep(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=2)
    assert [p.name for p in checkpoints.found(tmp_path)] == ["step-00000003", "step-00000004"]
    newest = checkpoints.newest(tmp_path)
    assert newest is not None
    loaded = checkpoints.load(newest)
    assert loaded.state == {"step": 4}
    assert torch.equal(loaded.tensors["weights"]["a"], torch.full((100,), 4.0))


@pytest.mark.parametrize("file", ["weights.safetensors", "ema.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("fault", ["flip", "truncate", "remove"])
def test_every_fault_is_detected_and_stepped_over(
    tmp_path: Path, file: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    broken = save(tmp_path, 2) / file
    data = bytearray(broken.read_bytes())
    if fault == "flip":
        data[len(data) // 2] ^= 0x10
        broken.write_bytes(data)
    elif fault == "truncate":
        broken.write_bytes(data[: len(data) // 2])
    else:
        broken.unlink()
    with caplog.at_level(logging.WARNING):
        newest = checkpoints.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000001"
    assert "step-00000002" in caplog.text


def test_full_disk_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(path: Path, *args: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_tensors", full)
    with pytest.raises(TrainingError, match="No space left on device.*Older checkpoints are intact"):
        save(tmp_path, 2)
    newest = checkpoints.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000001"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000001"]
    assert (tmp_path / "latest").read_text() == "step-00000001\n"


def test_leftovers_of_a_killed_save_are_removed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".step-00000002.tmp").mkdir()
    (tmp_path / ".step-00000002.tmp" / "weights.safetensors").write_bytes(b"half")
    (tmp_path / ".latest.4194305.tmp").write_text("step-0")  # a process number that no system gives
    newest = checkpoints.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000001"
    assert (tmp_path / ".step-00000002.tmp").exists()  # looking changes nothing: a save may be going on
    checkpoints.tidy(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000001"]


def test_pickles_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(MultigenError, match="never from pickles"):
        checkpoints.load_tensors(path)
    disguised = tmp_path / "weights.safetensors"
    disguised.write_bytes(path.read_bytes())
    with pytest.raises(MultigenError, match="not a readable safetensors file"):
        checkpoints.load_tensors(disguised)


def test_every_nth_and_the_best_stay(tmp_path: Path) -> None:
    """The best until another is better; the others go as newer ones come."""
    tensors = {"weights": {"a": torch.zeros(3)}, "ema": {}, "optimizer": {}}
    for step in range(1, 11):
        path = checkpoints.save(tmp_path, step, Checkpoint(tensors, {"step": step}), keep=2, every=4)
        if step in (3, 5):
            checkpoints.mark_best(path, 1 / step)
    kept = [int(p.name.removeprefix("step-")) for p in checkpoints.found(tmp_path)]
    assert kept == [4, 5, 8, 9, 10]
    assert checkpoints.best(tmp_path) == ("step-00000005", 0.2)
    (tmp_path / checkpoints.BEST).write_text("{")
    assert checkpoints.best(tmp_path) is None
