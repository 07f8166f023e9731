"""`train.batch=auto`: the smallest batch that is nearly as fast as any, kept by the run folder's recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.errors import RecipeError, TrainingError
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Train
from multigen.runs import jobs as runs
from multigen.runs import trainer as trainers
from multigen.training import batch_size
from multigen.training import checkpoint as checkpoints
from multigen.training.batch import Batch
from multigen.training.batch_size import search
from tests.runs.test_resume import small


@pytest.mark.parametrize(
    ("speeds", "most", "found"),
    [
        ({4: 10.0, 8: 19.0, 16: 30.0, 32: 31.0, 64: 31.2}, 1024, 16),  # within 5% of the best
        ({4: 10.0, 8: 20.0, 16: 40.0}, 16, 16),  # all training items
        ({4: 10.0, 8: 20.0, 16: None}, 1024, 8),  # 16 do not fit
        ({4: None, 2: None, 1: 5.0}, 1024, 1),
        ({4: None, 2: 5.0}, 1024, 2),
        ({4: None, 2: None, 1: None}, 1024, 0),  # not even one fits
        ({1: None}, 1, 0),
        ({3: 5.0}, 3, 3),
    ],
)
def test_the_smallest_of_the_fast_is_found(speeds: dict[int, float | None], most: int, found: int) -> None:
    tried: list[int] = []

    def measure(size: int) -> float | None:
        tried.append(size)
        return speeds[size]

    assert search(measure, most=most) == found
    assert tried == list(speeds)


def test_a_batch_that_memory_does_not_hold_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small("image_digits", Path(), "train.batch=auto", "train.sizes=[]")
    model = trainers.model_of(recipe, "cpu")
    dataset = trainers.build_dataset(recipe)
    monkeypatch.setattr(batch_size, "_available", lambda _: 10.0)
    before = {name: p.clone() for name, p in model.denoiser.named_parameters()}
    task = trainers.build_task(model, dataset)
    with pytest.raises(TrainingError, match="not even a batch of 1 fits"):
        batch_size.find_batch(task, dataset, 0, torch.device("cpu"))
    monkeypatch.setattr(batch_size, "_available", lambda _: None)
    monkeypatch.setattr(batch_size, "MOST", 8)
    assert batch_size.find_batch(task, dataset, 0, torch.device("cpu")) in (4, 8)
    for name, parameter in model.denoiser.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None


def test_the_memory_of_a_size_is_all_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only what it takes beyond the size before: of 100 MB, 0.7 hold 64 samples of 1 MB, not 128."""
    recipe = small("image_digits", Path(), "train.batch=auto", "train.sizes=[]")
    dataset = trainers.build_dataset(recipe)
    task = trainers.build_task(trainers.model_of(recipe, "cpu"), dataset)
    peak, tried = 500e6, list[int]()

    def seconds(_: object, size: int) -> float:
        nonlocal peak
        peak = max(peak, 500e6 + 1e6 * size)
        tried.append(size)
        return 1.0

    passes = batch_size._Passes
    monkeypatch.setattr(passes, "_seconds", seconds)
    monkeypatch.setattr(batch_size, "_held", lambda _: 500e6)
    monkeypatch.setattr(batch_size, "_peak", lambda _: peak)
    measure = passes(task, dataset, 0, torch.device("cpu"))
    monkeypatch.setattr(batch_size, "_available", lambda _: 100e6 + measure.states / 0.7)
    assert search(measure, most=1024) == max(tried) == 64


def test_what_the_training_crops_is_measured_cropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: set[tuple[int, ...]] = set()
    collate = batch_size.one_batch

    def seen(*args: Any) -> Batch:
        batch = collate(*args)
        shapes.add(tuple(batch.media.shape[1:]))
        return batch

    monkeypatch.setattr(batch_size, "one_batch", seen)
    monkeypatch.setattr(batch_size, "MOST", 4)
    recipe = small(
        "image_digits", tmp_path, "train.batch=auto", "train.sizes=[]", "train.crop=16", "train.steps=1",
        "train.held_out_every=0", "train.preview_every=0",
    )  # fmt: skip
    runs.train(recipe, out=tmp_path / "run", device="cpu", quiet=True)
    assert {shape[-2:] for shape in shapes} == {(16, 16)}


def test_a_resumed_training_has_the_batch_that_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([6])
    monkeypatch.setattr(trainers, "find_batch", lambda *_: next(found))
    given = ("train.batch=auto", "train.sizes=[]", "train.held_out_every=0", "train.preview_every=0")
    recipe = small("image_digits", tmp_path, *given, "train.steps=2")
    runs.train(recipe, out=tmp_path / "run", device="cpu", quiet=True)
    assert load_recipe(str(tmp_path / "run/recipe.yaml")).train.batch == 6
    longer = small("image_digits", tmp_path, *given, "train.steps=3")
    runs.train(longer, out=tmp_path / "run", device="cpu", quiet=True)  # is not sought again
    newest = checkpoints.newest(tmp_path / "run/checkpoints")
    assert newest is not None and checkpoints.step_of(newest) == 3
    assert load_recipe(str(tmp_path / "run/recipe.yaml")).train.batch == 6


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["train.accumulate=2"], r"train.accumulate: 2 is not allowed. Allowed: 1, since train.batch=auto"),
        (["train.sizes=[16,24]"], r"train.batch: auto is not allowed with train.sizes"),
        (
            ["launch=torchrun", "launch.nproc=2", "launch.fsdp=true"],
            "auto is not allowed with launch.fsdp",
        ),
        (["train.batch=0"], "a whole number from 1 to 65536, or auto"),
        (["train.batch=often"], "train.batch"),
    ],
)
def test_what_does_not_go_with_auto(overrides: list[str], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        load_recipe("image_digits", ["train.batch=auto", *overrides])


def test_a_batch_is_a_number_once_it_is_found() -> None:
    assert Train(batch=6).batch_size == 6
    with pytest.raises(RecipeError, match="auto is found when a training starts"):
        _ = Train(batch="auto").batch_size
