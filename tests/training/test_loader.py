"""Readers that die: killed for real, nothing hangs, nothing is lost, nothing comes twice."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets import Item
from multigen.datasets.folder import Folder
from multigen.errors import TrainingError
from multigen.modalities.image import Image
from multigen.training.batch import Batch, Order
from multigen.training.loader import batches
from tests.training.toys import Points, trainer


def killed(read: Iterator[Batch], at: set[int], steps: int) -> list[Batch]:
    """Batches; before some of them a reader process is killed."""
    out = []
    for step in range(steps):
        if step in at:
            victim = next(p for p in multiprocessing.active_children() if p.is_alive())
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
        out.append(next(read))
    return out


def test_killed_readers_lose_and_repeat_nothing(caplog: pytest.LogCaptureFixture) -> None:
    order = Order(range(56), 8, seed=1)
    plain = batches(Points(), order, 0, 0)
    expected = [next(plain) for _ in range(14)]
    plain.close()
    read = batches(Points(), order, 0, 2)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING):
        got = killed(read, {1, 5}, 14)
    read.close()
    assert time.monotonic() - begun < 60
    assert [b.ids for b in got] == [b.ids for b in expected]
    assert all(torch.equal(a.media, b.media) for a, b in zip(got, expected, strict=True))
    said = [
        r.getMessage() for r in caplog.records if "reader process ended, killed by SIGKILL" in r.getMessage()
    ]
    assert 1 <= len(said) <= 2  # the second may die with its work already done
    assert not multiprocessing.active_children()


def test_a_training_whose_reader_is_killed_ends_as_without(tmp_path: Path) -> None:
    whole, hit = trainer(tmp_path / "a"), trainer(tmp_path / "b", workers=2)
    inner = hit._update

    def kill_at_six(batch: Batch) -> dict[str, float]:
        if hit.step == 6:
            for process in multiprocessing.active_children():
                process.kill()
                process.join()  # its SIGCHLD comes within this update
        return inner(batch)

    hit._update = kill_at_six  # type: ignore[method-assign]
    whole.run()
    hit.run()
    assert hit.step == whole.step == 20
    for name, parameter in whole.parameters.items():
        assert torch.equal(hit.parameters[name], parameter)


class Deadly(Points):
    """Kills whoever reads item 9."""

    def draw(self, index: int, rng: torch.Generator) -> Item:
        if index == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(index, rng)


@pytest.mark.slow
def test_readers_that_die_at_the_same_item_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multigen.training.readers._DEATHS", 1)
    t = trainer(tmp_path, dataset=Deadly(), workers=1)
    with pytest.raises(
        TrainingError, match=r"ended 2 times in a row at step \d, the last killed by SIGKILL.*workers"
    ):
        t.run()


class Faulty(Points):
    def draw(self, index: int, rng: torch.Generator) -> Item:
        raise RuntimeError("a fault of ours")


def test_other_errors_of_readers_stay_what_they_are() -> None:
    read = batches(Faulty(), Order(range(8), 4, seed=0), 0, 1)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        next(read)


def pictures(folder: Path, n: int) -> Folder:
    folder.mkdir()
    for k in range(n):
        levels: Tensor = torch.rand((3, 8, 8), generator=stream(k, "p")) * 2 - 1
        Image(size=8).write(levels, folder / f"{k:03d}.png")
    return Folder(modality=Image(size=8), path=str(folder), held_out=0.0, memory=0.0)


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_media_and_a_vanished_file_are_listed_once(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1% corrupt behind their headers, and one more file that goes away while the run reads."""
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))
    data = pictures(tmp_path / "pics", 200)
    for k in (20, 120):
        path = tmp_path / "pics" / f"{k:03d}.png"
        path.write_bytes(path.read_bytes()[:60])
    t = toy_pictures(tmp_path / "run", data, steps=60, workers=workers, bad_media=0.02)  # over two epochs
    inner = t._update

    def vanish_at_two(batch: Batch) -> dict[str, float]:
        if t.step == 2:
            gone.unlink()
        return inner(batch)

    t._update = vanish_at_two  # type: ignore[method-assign]
    order = Order(data.split()[0], 8, 0)
    # One that is read some time after step 2, whatever is read ahead.
    gone = tmp_path / "pics" / f"{order.index(20, 3):03d}.png"
    with caplog.at_level(logging.WARNING):
        t.run()
    assert t.step == 60
    names = {str(tmp_path / "pics" / f"{k:03d}.png") for k in (20, 120)} | {str(gone)}
    assert set(t.unreadable.files) == names
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("skipped: ")]
    assert sorted(s.split(": ")[1] for s in said) == sorted(names)


def test_more_corrupt_media_than_allowed_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))
    data = pictures(tmp_path / "pics", 100)
    for k in range(0, 100, 20):
        path = tmp_path / "pics" / f"{k:03d}.png"
        path.write_bytes(path.read_bytes()[:60])
    t = toy_pictures(tmp_path / "run", data, steps=60, bad_media=0.03)
    with pytest.raises(
        TrainingError, match=r"[45] of 100 items could not be read, more than train\.bad_media=0\.03"
    ):
        t.run()
    assert any((tmp_path / "run" / "checkpoints").glob("step-*"))


class Means:
    """Pictures as the toys' points: [1, 8] of each, label 0."""

    classes, bad = ("one",), {}

    def __init__(self, data: Folder) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Item:
        return self._item(self.data[index])

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self._item(self.data.draw(index, rng))

    def _item(self, item: Item) -> Item:
        return {"media": item["media"].mean((0, 1))[None], "id": item["id"], "label": 0, "text": ""}

    def split(self) -> Any:
        return self.data.split()


def toy_pictures(folder: Path, data: Folder, **settings: Any) -> Any:
    return trainer(folder, dataset=Means(data), **settings)  # type: ignore[arg-type]
