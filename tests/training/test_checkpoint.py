"""Checkpoints: whole or not at all, verified, broken ones stepped over."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from multigen.errors import MultigenError, TrainingError
from multigen.storage.files import sha256
from multigen.storage.tensors import load_tensors
from multigen.training import checkpoint as checkpoints
from multigen.training.checkpoint import Checkpoint, files
from multigen.training.learner import load_optimizer


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

    monkeypatch.setattr(files, "save_tensors", full)
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
        load_tensors(path)
    disguised = tmp_path / "weights.safetensors"
    disguised.write_bytes(path.read_bytes())
    with pytest.raises(MultigenError, match="not a readable safetensors file"):
        load_tensors(disguised)


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


# --- what lies in the folder ------------------------------------------------------------------------------------


def test_a_broken_checkpoint_pushes_out_no_good_one(tmp_path: Path) -> None:
    """It is newer than what is gone on from: it must neither count among those to keep nor come back."""
    for step in (1, 2, 3):
        save(tmp_path, step)
    flip(tmp_path / "step-00000003" / "weights.safetensors", 2000)
    checkpoints.tidy(tmp_path)
    assert [p.name for p in checkpoints.found(tmp_path)] == ["step-00000001", "step-00000002"]
    assert (tmp_path / "step-00000003.broken" / "weights.safetensors").is_file()
    assert (tmp_path / "latest").read_text() == "step-00000002\n"
    assert checkpoints.newest(tmp_path) == checkpoints.path_of(tmp_path, 2)
    again = save(tmp_path, 3, keep=1)
    assert [p.name for p in checkpoints.found(tmp_path)] == ["step-00000003"]
    assert checkpoints.verify(again) is None
    assert not list(tmp_path.glob("*.broken"))


def test_where_none_verifies_all_stay(tmp_path: Path) -> None:
    for step in (1, 2):
        flip(save(tmp_path, step) / "state.json", 3)
    checkpoints.tidy(tmp_path)
    assert checkpoints.newest(tmp_path) is None
    assert [p.name for p in checkpoints.found(tmp_path)] == ["step-00000001", "step-00000002"]
    save(tmp_path, 0, keep=1)  # beyond it they do not count
    assert checkpoints.newest(tmp_path) == checkpoints.path_of(tmp_path, 0)


def test_the_same_step_again_is_never_nowhere(tmp_path: Path) -> None:
    """Killed between the two renames: the older try of the step stands in its place again."""
    first = save(tmp_path, 1)
    first.rename(tmp_path / ".step-00000001.old")
    (tmp_path / ".step-00000001.tmp").mkdir()
    checkpoints.tidy(tmp_path)
    assert checkpoints.newest(tmp_path) == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000001"]
    save(tmp_path, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000001"]


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("file", ["manifest.json", "state.json", "optimizer.safetensors"])
def test_any_one_bit_is_noticed(tmp_path: Path, file: str) -> None:
    path = save(tmp_path, 1)
    size = 8 * (path / file).stat().st_size
    for bit in range(0, size, 23 if file == "manifest.json" else 3):
        flip(path / file, bit)
        assert checkpoints.verify(path) is not None, f"{file}, bit {bit}"
        flip(path / file, bit)
    assert checkpoints.verify(path) is None


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("manifest.json", {}, "does not list ema.safetensors, optimizer.safetensors"),
        ("manifest.json", [], "unreadable"),
        ("manifest.json", {"../secret": {"bytes": 1, "sha256": ""}}, "../secret is missing"),
        ("state.json", {"step": -1}, "contains step -1"),
        ("state.json", {"step": 2}, "contains step 2"),
        ("state.json", {"step": 1, "seconds": -4}, "contains -4 seconds"),
        ("state.json", {"step": 1, "seconds": float("inf")}, "contains inf seconds"),
        ("state.json", {"step": 1, "seconds": "1e999"}, "contains '1e999' seconds"),
        ("state.json", {"step": True}, "contains step True"),
        ("state.json", {"seconds": 1}, "state.json is unreadable"),
        ("state.json", [1], "state.json is unreadable"),
    ],
)
def test_what_no_training_wrote_is_stepped_over(
    tmp_path: Path, file: str, change: object, words: str
) -> None:
    """Though all checksums are right: somebody else made them."""
    (tmp_path / "secret").write_text("x")
    path = save(tmp_path, 1)
    facts = json.loads((path / "manifest.json").read_text())
    if file == "state.json":
        (path / file).write_text(json.dumps(change))
        facts[file] = {"bytes": (path / file).stat().st_size, "sha256": sha256(path / file)}
        change = {}
    if isinstance(change, dict) and (change or file == "state.json"):
        change = {**facts, **change}
    (path / "manifest.json").write_text(json.dumps(change))
    fault = checkpoints.verify(path)
    assert fault is not None and words in fault
    assert checkpoints.newest(tmp_path) is None


def test_strangers_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step-notes").mkdir()
    (tmp_path / "step-00000009").write_text("a file")
    (tmp_path / "step-00000001.bak").mkdir()
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "latest").mkdir()  # nothing that a pointer could be
    with pytest.raises(TrainingError, match="could not be written"):
        save(tmp_path, 1, keep=1)
    (tmp_path / "latest").rmdir()
    before = {p.name for p in tmp_path.iterdir()}
    for step in (1, 2, 100_000_000):
        save(tmp_path, step, keep=1)
    checkpoints.tidy(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} - before == {"latest", "step-100000000"}
    stray = tmp_path / "step-100000000" / "stray.safetensors"
    stray.write_bytes(b"not ours")
    newest = checkpoints.newest(tmp_path)
    assert newest is not None and checkpoints.load(newest).tensors.keys() == {"weights", "ema", "optimizer"}


def test_a_link_to_a_checkpoint_elsewhere_is_used_and_only_the_link_removed(tmp_path: Path) -> None:
    away = save(tmp_path / "other", 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / away.name).symlink_to(away)
    assert checkpoints.newest(tmp_path / "mine") == tmp_path / "mine" / away.name
    save(tmp_path / "mine", 2, keep=1)
    assert [p.name for p in checkpoints.found(tmp_path / "mine")] == ["step-00000002"]
    assert checkpoints.verify(away) is None


@pytest.mark.parametrize("text", ["step-00000007\n", "", "../../etc", "\xff", "step-1e9"])
def test_latest_that_points_nowhere_stops_nothing(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    (tmp_path / "latest").write_text(text, encoding="latin-1")
    checkpoints.tidy(tmp_path)
    assert checkpoints.newest(tmp_path) == checkpoints.path_of(tmp_path, 1)
    assert (tmp_path / "latest").read_text() == "step-00000001\n"
    assert ("names step-00000007, which is unusable" in caplog.text) == text.startswith("step-00000007")


def test_another_optimizers_state_is_refused() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([parameter])
    for name, shape in (("0.exp_avg", (4,)), ("1.exp_avg", (3,)), ("x.exp_avg", (3,))):
        with pytest.raises(MultigenError, match=f"to other parameters: {name}"):
            load_optimizer(optimizer, {name: torch.zeros(shape)})
