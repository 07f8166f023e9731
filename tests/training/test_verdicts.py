"""Updates that the host does not wait for: the same weights, bad ones left out by the device alone, exact resume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen.errors import TrainingError
from multigen.training import checkpoint as checkpoints
from multigen.training.batch import Batch
from multigen.training.draws import PerPlace, PerStep, Places, draws
from multigen.training.trainer import Trainer
from multigen.training.verdicts import Update, Verdicts

from .toys import diffusion, trainer

CPU = torch.device("cpu")


def ahead(t: Trainer, lag: int = 4) -> Trainer:
    t.updates.verdicts = Verdicts(CPU, lag)
    return t


def broken_at(t: Trainer, *steps: int) -> Trainer:
    """A loss that is not a number at these steps."""
    task = diffusion(t)
    losses = task.losses

    def wrong(batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        for name, parts in losses(batch, step, progress):
            yield name, ((p * torch.nan if step in steps else p) for p in parts)

    task.losses = wrong  # type: ignore[method-assign]
    return t


def same(a: Trainer, b: Trainer, **close: Any) -> None:
    for name, parameter in a.parameters.items():
        torch.testing.assert_close(parameter, b.parameters[name], rtol=0, atol=0)
        torch.testing.assert_close(a.ema.shadow[name], b.ema.shadow[name], rtol=0, atol=1e-6)
    assert a.optimizer.state_dict()["state"].keys() == b.optimizer.state_dict()["state"].keys()
    for key, entry in a.optimizer.state_dict()["state"].items():
        for name, value in entry.items():
            assert torch.equal(value, b.optimizer.state_dict()["state"][key][name]), name


def test_without_waiting_the_weights_are_the_same(tmp_path: Path) -> None:
    one, other = trainer(tmp_path / "a"), ahead(trainer(tmp_path / "b"))
    one.run()
    other.run()
    same(one, other)


def test_the_device_leaves_a_bad_update_out_as_the_host_does(tmp_path: Path) -> None:
    one, other = trainer(tmp_path / "a"), ahead(trainer(tmp_path / "b"))
    broken_at(one, 3, 4, 11).run()
    broken_at(other, 3, 4, 11).run()
    same(one, other)
    assert other.counters.skipped == one.counters.skipped == 0
    free = trainer(tmp_path / "c")
    free.run()
    assert any(not torch.equal(p, other.parameters[n]) for n, p in free.parameters.items())


def test_too_many_bad_updates_end_the_training_and_name_the_first_too_many(tmp_path: Path) -> None:
    t = broken_at(ahead(trainer(tmp_path, skip=2, checkpoint_every=100)), *range(5, 20))
    with pytest.raises(TrainingError, match="step 7: the loss is nan"):
        t.run()
    assert all(bool(p.isfinite().all()) for p in t.parameters.values())


def test_a_checkpoint_knows_of_every_update_before_it(tmp_path: Path) -> None:
    whole = broken_at(ahead(trainer(tmp_path / "a")), 8, 9)
    whole.run()
    first = broken_at(ahead(trainer(tmp_path / "b", steps=10, checkpoint_every=10)), 8, 9)
    first.run()
    newest = checkpoints.newest(tmp_path / "b" / "checkpoints")
    assert newest is not None
    state = checkpoints.load(newest)
    assert state.state["skipped"] == 2
    second = ahead(trainer(tmp_path / "b"))
    second.restore(state)
    second.run()
    # The learning rate falls over 10 steps in the first part: only the counters can be the same.
    assert second.step == whole.step == 20
    assert second.counters.skipped == 0


def test_values_are_read_when_they_are_older_than_the_lag() -> None:
    verdicts = Verdicts(CPU, 2)
    heard = []
    for step in range(5):
        verdicts.add(Update(step, 1.0, [], ("loss",)), torch.tensor([float(step)]))
        heard.append([u.step for u, _ in verdicts.read()])
    assert heard == [[], [], [0], [1], [2]]
    assert [values["loss"] for _, values in verdicts.read(everything=True)] == [3.0, 4.0]


def test_a_rows_noise_is_the_same_for_any_number_of_ranks_and_parts() -> None:
    for source in (PerPlace(3, CPU), PerStep(3, CPU)):
        whole = source.normal((2, 3), "noise", 5, Places(8, range(8)))
        u = source.uniform("dropout", 5, Places(8, range(8)))
        for rows in (range(4), range(4, 8), range(3, 4)):
            part = source.normal((2, 3), "noise", 5, Places(8, rows))
            assert torch.equal(part, whole[rows.start : rows.stop])
            assert torch.equal(source.uniform("dropout", 5, Places(8, rows)), u[rows.start : rows.stop])
        assert not torch.equal(whole, source.normal((2, 3), "noise", 6, Places(8, range(8))))
        assert not torch.equal(whole, source.normal((2, 3), "other", 5, Places(8, range(8))))
        assert abs(source.normal((4096,), "noise", 1, Places(4, range(4))).std().item() - 1) < 0.02
    assert isinstance(draws(0, CPU), PerPlace)
    assert isinstance(draws(0, torch.device("cuda")), PerStep)
