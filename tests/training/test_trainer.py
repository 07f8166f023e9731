"""The trainer: exact resume, no bad update, skipped media, signals, accumulation."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen.core import plain, solve
from multigen.core.noise import Noise
from multigen.core.samplers import heun
from multigen.core.timesteps import uniform
from multigen.errors import MultigenError, TrainingError
from multigen.training import checkpoint as checkpoints
from multigen.training import log as training_log
from multigen.training.batch import Batch, Order
from multigen.training.distillation import Distillation, Lesson
from multigen.training.draws import Places
from multigen.training.learner import optimizer_tensors
from multigen.training.loader import batches
from multigen.training.trainer import Interrupted, Trainer
from tests.training.toys import Points, diffusion, trainer


def state(t: Trainer) -> dict[str, Tensor]:
    weights = {f"w.{n}": p.detach().clone() for n, p in t.parameters.items()}
    average = {f"e.{n}": v.clone() for n, v in t.ema.shadow.items()}
    return {
        **weights,
        **average,
        **{f"o.{k}": v for k, v in optimizer_tensors(t.optimizer).items()},
    }


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def restored(folder: Path, **settings: object) -> Trainer:
    t = trainer(folder, seed=0, **settings)
    with torch.no_grad():
        for p in t.parameters.values():
            p.add_(1.0)  # so that nothing of the fresh weights can pass for the saved ones
    newest = checkpoints.newest(folder / "checkpoints")
    assert newest is not None
    t.restore(checkpoints.load(newest))
    return t


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_bit_exact(tmp_path: Path, workers: int) -> None:
    whole = trainer(tmp_path / "whole", held_out_every=4)
    whole.run()
    first = trainer(tmp_path / "parts", checkpoint_every=7, workers=workers)
    inner = first._update

    def stop_at_nine(batch: object) -> dict[str, float]:
        if first.step == 9:
            raise KeyboardInterrupt
        return inner(batch)  # type: ignore[arg-type]

    first._update = stop_at_nine  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = restored(tmp_path / "parts", workers=workers)
    assert second.step == 7
    second.run()
    assert second.step == 20
    assert_same(state(whole), state(second))


def test_signal_saves_and_resumes_exactly(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    first = trainer(tmp_path / "parts", checkpoint_every=1000)
    inner = first._update

    def kill_at_six(batch: object) -> dict[str, float]:
        if first.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(batch)  # type: ignore[arg-type]

    first._update = kill_at_six  # type: ignore[method-assign]
    with pytest.raises(Interrupted) as stopped:
        first.run()
    assert stopped.value.code == 143
    assert stopped.value.step == 7
    second = restored(tmp_path / "parts")
    second.run()
    assert_same(state(whole), state(second))


def test_accumulation_changes_nothing_but_rounding(tmp_path: Path) -> None:
    whole, parts = trainer(tmp_path / "a"), trainer(tmp_path / "b", accumulate=3)
    whole.run()
    parts.run()
    for name, p in whole.parameters.items():
        torch.testing.assert_close(parts.parameters[name], p, rtol=1e-4, atol=1e-5)


def test_trained_model_samples_the_data(tmp_path: Path) -> None:
    t = trainer(tmp_path, steps=600, batch=32, checkpoint_every=600, ema_decay=0.99)
    t.run()
    with t.ema.applied(), torch.no_grad():
        labels = [k % 2 for k in range(64)]
        task = diffusion(t)
        cond = task.conditioner({"label": labels})
        noise = Noise(range(64), (1, 8))
        ts = uniform(task.denoiser.schedule, 12)
        x = solve(heun(task.denoiser.schedule, noise("start"), ts, noise), plain(cond, cond), task.denoiser)
    means = x.mean((1, 2))
    assert means[1::2].mean().item() == pytest.approx(1, abs=0.15)
    assert means[0::2].mean().item() == pytest.approx(-1, abs=0.15)
    assert means[1::2].std().item() < 0.3


def test_nan_stops_before_the_update_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    t = trainer(tmp_path, checkpoint_every=4, skip=0)
    inner, before = t.task.losses, {}

    def poisoned(batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        for name, parts in inner(batch, step, progress):
            if step == 6:
                before.update({n: p.detach().clone() for n, p in t.parameters.items()})
                yield name, (loss * float("nan") for loss in parts)
            else:
                yield name, parts

    t.task.losses = poisoned  # type: ignore[method-assign]
    with pytest.raises(
        TrainingError, match=r"step 6: the loss is nan.*step-00000004.*train\.lr.*item"
    ) as error:
        t.run()
    assert error.value.code == 1
    for name, p in t.parameters.items():
        assert torch.equal(p, before[name]) and p.isfinite().all()
    assert checkpoints.newest(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "step-00000004"


def test_unreadable_items_are_replaced_and_named_once(tmp_path: Path) -> None:
    t = trainer(tmp_path, dataset=Points(broken=frozenset({3, 11})), bad_media=0.05)
    t.run()
    assert t.step == 20
    assert set(t.unreadable.files) == {"item3", "item11"}


def test_too_many_unreadable_items_stop_the_run(tmp_path: Path) -> None:
    t = trainer(tmp_path, dataset=Points(broken=frozenset(range(0, 40, 4))), bad_media=0.05)
    with pytest.raises(
        TrainingError, match=r"items could not be read, more than train\.bad_media=0\.05 allows"
    ):
        t.run()


def test_batches_depend_on_seed_and_step_alone() -> None:
    data = Points()
    order = Order(data.split()[0], 8, seed=1)
    stream = batches(data, order, 0, 0)
    one = [next(stream) for _ in range(12)]
    stream.close()  # type: ignore[attr-defined]
    later = batches(data, Order(data.split()[0], 8, seed=1), 9, 0)
    batch = next(later)
    later.close()  # type: ignore[attr-defined]
    assert batch.ids == one[9].ids
    assert torch.equal(batch.media, one[9].media)
    epoch = [i for b in one[:7] for i in b.ids]
    assert sorted(epoch) == sorted(f"item{i}" for i in range(56))  # 7 batches of 8 see each item once
    assert one[7].ids != one[0].ids


def test_noise_levels_are_stratified(tmp_path: Path) -> None:
    task = diffusion(trainer(tmp_path, batch=16))
    u = task.examples.levels(16, step=0)
    assert sorted((u * 16).floor().int().tolist()) == list(range(16))
    assert not torch.equal(u, task.examples.levels(16, step=1))


def test_offset_noise_is_a_constant_a_channel_beside_the_same_noise(tmp_path: Path) -> None:
    plain_task = diffusion(trainer(tmp_path / "a"))
    task = diffusion(trainer(tmp_path / "b", offset_noise=0.3))
    places = Places(400, range(400))
    offsets = task.examples.noise((3, 4, 5), 7, places) - plain_task.examples.noise((3, 4, 5), 7, places)
    for offset in offsets:
        torch.testing.assert_close(offset, offset[:, :1, :1].expand(3, 4, 5), atol=1e-6, rtol=0.0)
    values = offsets[:, :, 0, 0]
    assert values.std().item() == pytest.approx(0.3, rel=0.08)
    assert abs(torch.corrcoef(values.T)[0, 1].item()) < 0.15  # channels are drawn apart
    assert torch.equal(
        task.examples.noise((3, 4, 5), 7, Places(400, range(2, 5))),
        task.examples.noise((3, 4, 5), 7, places)[2:5],
    )


def test_huber_reaches_the_loss(tmp_path: Path) -> None:
    rows = []
    for name, huber in (("a", None), ("b", 0.3)):
        trainer(tmp_path / name, steps=1, log_every=1, huber=huber).run()
        rows.append(training_log.read(tmp_path / name)[0])
    assert rows[0]["loss"] != rows[1]["loss"]
    assert rows[0]["levels"] != rows[1]["levels"]


def test_time_budget_ends_training(tmp_path: Path) -> None:
    t = trainer(tmp_path, steps=None, minutes=0.01)
    t.run()
    assert t.counters.seconds >= 0.6
    assert t.step > 1
    assert t.counters.lr() == pytest.approx(0, abs=1e-6)


def test_log_has_loss_and_held_out(tmp_path: Path) -> None:
    t = trainer(tmp_path, held_out_every=10, checkpoint_every=10)
    t.run()
    rows = training_log.read(tmp_path)
    assert [r["step"] for r in rows if "loss" in r] == [10, 20]
    held = [r["held_out"] for r in rows if "held_out" in r]
    assert len(held) == 2
    assert set(held[0]) == {"-3.0", "-2.0", "-1.0", "0.0", "1.0", "2.0", "3.0", "mean", "seen"}


def test_the_held_out_loss_of_a_lesson_is_that_of_the_step(tmp_path: Path) -> None:
    """A method of distillation may teach something else at each step."""
    asked: list[int] = []

    class Recording(Distillation):
        def target(self, lesson: Lesson) -> Tensor:
            asked.append(lesson.step)
            return lesson.x

    t = trainer(tmp_path, held_out_every=10, checkpoint_every=10)
    task = diffusion(t)
    task.held_out.distilled = task.seen.distilled = Recording()
    t.run()
    assert sorted(set(asked)) == [10, 20]


def test_what_is_trained_on_and_what_is_held_out_are_measured_alike(tmp_path: Path) -> None:
    """The same items on both sides give the same loss, whatever the objective makes of the training's own."""
    t = trainer(tmp_path, steps=4, huber=0.3)
    task = diffusion(t)
    row = task.measure()
    assert row["seen"] != row["mean"]
    task.seen.indices = list(task.held_out.indices)
    row = task.measure()
    assert row["seen"] == row["mean"]
    task.held_out.indices = []
    assert task.measure() == {}


def test_dropout_in_the_network_is_keyed_by_the_step(tmp_path: Path) -> None:
    def make(folder: str, steps: int) -> Trainer:
        t = trainer(tmp_path / folder, steps=steps, checkpoint_every=5)
        diffusion(t).denoiser.backbone.layers.insert(2, torch.nn.Dropout(0.5))  # type: ignore[union-attr]
        return t

    whole = make("whole", 10)
    whole.run()
    torch.manual_seed(99)  # another global state must not matter
    second = make("whole", 10)
    second.restore(checkpoints.load(tmp_path / "whole" / "checkpoints" / "step-00000005"))
    second.run()
    assert_same(state(whole), state(second))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_the_readers_is_one_plain_message(tmp_path: Path, workers: int) -> None:
    t = trainer(tmp_path, dataset=Points(broken=frozenset(range(64))), workers=workers, bad_media=1.0)
    with pytest.raises(TrainingError, match="16 items in a row could not be read") as error:
        t.run()
    assert "Traceback" not in str(error.value)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    t = trainer(tmp_path / "a", steps=5)
    t.run()
    other = trainer(tmp_path / "b")
    other.parameters["extra"] = torch.nn.Parameter(torch.zeros(1))
    newest = checkpoints.newest(tmp_path / "a" / "checkpoints")
    assert newest is not None
    with pytest.raises(MultigenError, match="another model than the recipe: extra is missing"):
        other.restore(checkpoints.load(newest))


def test_a_checkpoint_from_before_a_measure_was_added_is_resumed(tmp_path: Path) -> None:
    """Its training goes on bit for bit, and the measure stays as it is."""

    def measuring(folder: Path, added: frozenset[str]) -> Trainer:
        t = trainer(folder, steps=10)
        conditioner = diffusion(t).conditioner
        conditioner.register_buffer("measure", torch.full((3,), 7.0))
        conditioner.added = added
        return t

    whole = trainer(tmp_path / "a", steps=10)
    whole.run()
    before = checkpoints.load(tmp_path / "a" / "checkpoints" / "step-00000005")
    with pytest.raises(MultigenError, match=r"conditioner\.measure is missing"):
        measuring(tmp_path / "b", frozenset()).restore(before)
    later = measuring(tmp_path / "c", frozenset({"measure"}))
    later.restore(before)
    later.run()
    assert all(torch.equal(value, later.parameters[name]) for name, value in whole.parameters.items())
    newest = checkpoints.newest(tmp_path / "c" / "checkpoints")
    assert newest is not None
    assert checkpoints.load(newest).tensors["ema"]["conditioner.measure"].tolist() == [7.0] * 3


@pytest.mark.parametrize(("first", "last", "stops"), [(6, 8, False), (6, 9, True)])
def test_bad_updates_are_left_out_up_to_three_in_a_row(
    tmp_path: Path, first: int, last: int, stops: bool, caplog: pytest.LogCaptureFixture
) -> None:
    t = trainer(tmp_path, checkpoint_every=4)
    inner, states = t.task.losses, {}

    def poisoned(batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        states[step] = {n: p.detach().clone() for n, p in t.parameters.items()}
        for name, parts in inner(batch, step, progress):
            yield name, ((loss * float("inf") for loss in parts) if first <= step <= last else parts)

    t.task.losses = poisoned  # type: ignore[method-assign]
    if stops:
        with pytest.raises(TrainingError, match="step 9"):
            t.run()
    else:
        t.run()
        assert t.step == 20
        assert any(not torch.equal(p, states[first][n]) for n, p in t.parameters.items())
    assert all(torch.equal(states[last][n], p) for n, p in states[first].items())
    assert all(p.isfinite().all() for p in t.parameters.values())
    said = [r.message for r in caplog.records if "skipped" in r.message]
    assert len(said) == 3
    assert all(m.count("item") == 8 for m in said)  # each names its batch


def test_a_skipped_update_resumes_exactly(tmp_path: Path) -> None:
    def run(folder: Path, *stops: int) -> dict[str, Tensor]:
        for steps in (*stops, 12):
            t = trainer(folder, steps=steps, checkpoint_every=1, minutes=None)
            inner = t.task.losses

            def poisoned(
                batch: Batch, step: int, progress: float, inner: Any = inner
            ) -> Iterator[tuple[str, Iterator[Tensor]]]:
                for name, parts in inner(batch, step, 0.0):
                    yield name, ((loss * float("nan") for loss in parts) if step in (4, 5) else parts)

            t.task.losses = poisoned  # type: ignore[method-assign]
            t.counters.lr = lambda: 1e-2  # type: ignore[method-assign]
            if (newest := checkpoints.newest(folder / "checkpoints")) is not None:
                t.restore(checkpoints.load(newest))
            t.run()
        return {n: p.detach().clone() for n, p in t.parameters.items()}

    whole, parts = run(tmp_path / "whole"), run(tmp_path / "parts", 5, 6)
    assert all(torch.equal(whole[n], parts[n]) for n in whole)


def test_out_of_memory_names_what_to_change(tmp_path: Path) -> None:
    t = trainer(tmp_path, checkpoint_every=4, accumulate=2)
    inner = t.task.losses

    def hungry(batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        if step == 6:
            torch.empty(1 << 59)  # an allocation that no machine can give
        yield from inner(batch, step, progress)

    t.task.losses = hungry  # type: ignore[method-assign]
    wanted = (
        r"out of memory.*train\.accumulate.*now 2.*backbone\.checkpoint.*train\.batch.*now 8.*step-00000004"
    )
    with pytest.raises(TrainingError, match=wanted):
        t.run()
    assert checkpoints.newest(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "step-00000004"


def test_other_faults_stay_what_they_are(tmp_path: Path) -> None:
    t = trainer(tmp_path)

    def broken(batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        raise RuntimeError("shapes do not go together")

    t.task.losses = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="shapes"):
        t.run()


def test_the_best_checkpoint_stays(tmp_path: Path) -> None:
    t = trainer(tmp_path, steps=12, checkpoint_every=3, held_out_every=2, keep=1, keep_best=True)
    means = iter([0.5, 0.3, 0.4, 0.6, float("nan"), 0.35])
    t.task.measure = lambda step: {"mean": next(means)}  # type: ignore[method-assign]
    t.run()
    assert checkpoints.best(tmp_path / "checkpoints") == ("step-00000004", 0.3)
    assert [p.name for p in checkpoints.found(tmp_path / "checkpoints")] == ["step-00000004", "step-00000012"]
    assert checkpoints.verify(tmp_path / "checkpoints" / "step-00000004") is None


def test_the_best_checkpoint_is_of_the_step_it_says(tmp_path: Path) -> None:
    """Kept between two intervals, while the average stands in the network: going on from it changes nothing."""
    t = trainer(tmp_path / "best", steps=12, checkpoint_every=100, held_out_every=4, keep=5, keep_best=True)
    means = iter([0.3, 0.5, 0.4])
    t.task.measure = lambda step: {"mean": next(means)}  # type: ignore[method-assign]
    t.run()
    second = trainer(tmp_path / "second", steps=12)
    second.restore(checkpoints.load(tmp_path / "best" / "checkpoints" / "step-00000004"))
    second.run()
    assert_same(state(t), state(second))


def test_a_signal_cuts_a_preview_short(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", preview_every=6)
    whole.run()
    first = trainer(tmp_path / "parts", preview_every=6, checkpoint_every=1000)
    shown = []

    def preview(step: int) -> None:
        shown.append(step)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # where Python hears of it
        shown.append(-step)

    first.monitor.preview = preview
    with pytest.raises(Interrupted) as stopped:
        first.run()
    assert (stopped.value.code, shown) == (143, [6])
    second = restored(tmp_path / "parts")
    assert second.step == stopped.value.step
    second.run()
    assert_same(state(whole), state(second))
