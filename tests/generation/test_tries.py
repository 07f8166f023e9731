"""Media too near to a training item are made again: the same in any batch, keyed by (seed, try), and counted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.cli.main import main
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation.features import Facts, Feature
from multigen.generation.request import Request
from multigen.generation.tries import seed_of
from multigen.modalities.media import Media
from multigen.model.guarding import guards_of
from multigen.model.model import Model
from multigen.recipe.load import load_recipe, override_recipe
from tests.model.test_model import small


class Levels(Feature):
    """The pixels themselves, in 16 parts."""

    facts = Facts("levels", 49, "any", "none", "none")

    def __call__(self, media: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(media.mean(1), (7, 7)).flatten(1)[:, None]


@pytest.fixture(autouse=True)
def levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {**registry._registered, ("feature", "levels"): Levels})


@pytest.fixture(scope="module")
def digits() -> Model:
    return small("image_digits")


class Known:
    """A bank of what is known beforehand."""

    def __init__(self, tries: int, limit: float, distances: dict[int, float]) -> None:
        self.tries, self.limit, self.distances = tries, limit, distances
        self.asked: list[int] = []

    def nearest(self, medium: Media) -> tuple[str, float]:
        self.asked.append(medium.seed)
        return "item", self.distances.get(medium.seed, 9.0)


def test_seeds_of_tries_are_keyed() -> None:
    seeds = [seed_of(seed, attempt) for seed in range(20) for attempt in range(5)]
    assert len(set(seeds)) == 100 and all(0 <= seed < 2**62 for seed in seeds)
    assert seed_of(7, 0) == 7 and seed_of(7, 1) == seed_of(7, 1)


def test_another_try_takes_its_place_in_any_batch(digits: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = digits.generate("7", n=3, seed=0, steps=2)
    again = [seed_of(1, 1), seed_of(1, 2)]
    (second,) = digits.generate("7", seed=again[1], steps=2)
    found = {}
    for batch in (1, 3):
        known = Known(4, 1.0, {1: 0.5, again[0]: 0.2})
        monkeypatch.setattr(digits, "nearness", known)
        found[batch] = digits.generate("7", n=3, seed=0, steps=2, batch=batch)
        assert sorted(known.asked) == sorted([0, 1, 2, *again])
    for made in found.values():
        assert [medium.seed for medium in made] == [0, 1, 2]
        assert [medium.near.tries if medium.near else None for medium in made] == [0, 2, 0]
        near = made[1].near
        assert near is not None and (near.seed, near.distance, near.item) == (again[1], 9.0, "item")
        for one, other in zip(made, (plain[0], second, plain[2]), strict=True):
            assert (one.tensor - other.tensor).abs().max() < 1e-4


def test_the_farthest_stays(digits: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [seed_of(0, k) for k in range(3)]
    distances = dict(zip(seeds, (0.1, 0.3, 0.2), strict=True))
    monkeypatch.setattr(digits, "nearness", Known(2, 1.0, distances))
    (made,) = digits.generate("7", seed=0, steps=1)
    assert made.near is not None
    assert (made.near.tries, made.near.seed, made.near.distance) == (2, seeds[1], 0.3)
    monkeypatch.setattr(digits, "nearness", None)
    (alone,) = digits.generate("7", seed=seeds[1], steps=1)
    assert torch.equal(made.tensor, alone.tensor)


def test_edits_and_blends_are_left_alone(digits: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known(2, 10.0, {})
    monkeypatch.setattr(digits, "nearness", known)
    assert digits.edit(torch.zeros(1, 28, 28), "7", strength=0.5, steps=2)[0].near is None
    assert all(one.near is None for one in digits.blend(("7", "3"), n=2))
    assert known.asked == []


def test_a_trace_shows_the_try_that_is_handed_out(digits: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "nearness", Known(4, 1.0, {5: 0.5}))
    (made,) = digits.generate("7", seed=5, steps=2)
    trace = digits.trace(Request("7", seed=5, steps=2))
    assert trace.medium is not None and torch.equal(trace.medium.tensor, made.tensor)


def bank(model: Model, **settings: object) -> Model:
    """The model with a guard of its recipe's own."""
    said = ", ".join(f"{k}: {v}" for k, v in settings.items())
    recipe = override_recipe(model.recipe, ["evaluate.feature={name: levels}", f"sample.novelty={{{said}}}"])
    model.nearness = guards_of(recipe, model.modality, model.device)[1]
    return model


def test_nearness_is_that_of_the_training_items(digits: Model) -> None:
    from multigen.core.noise import stream
    from multigen.model.build import build_dataset

    known = bank(digits, bank=20, share=0.5).nearness
    assert known is not None
    dataset = build_dataset(digits.recipe, digits.modality)
    train = list(dataset.split()[0])
    index = train[:: -(-len(train) // 20)][3]
    item = dataset.draw(index, stream(digits.recipe.seed, "bank", index))
    name, distance = known.nearest(Media(item["media"], digits.modality))
    assert (name, distance) == (item["id"], pytest.approx(0, abs=1e-6))
    assert 0 < known.limit < 5
    fixed = bank(digits, bank=20, distance=0.125).nearness
    assert fixed is not None and fixed.limit == 0.125
    digits.nearness = None


def test_the_manifest_counts(tmp_path: Path, digits: Model) -> None:
    file = digits.save(tmp_path / "digits.safetensors")
    argv = [
        "sample",
        str(file),
        "--prompt",
        "7",
        "-n",
        "2",
        "--steps",
        "1",
        "--quiet",
        "evaluate.feature={name: levels}",
    ]
    settings = "sample.novelty={distance: 1000, tries: 2, bank: 8}"
    assert main([*argv, settings, "evaluate.feature={name: levels}", "--out", str(tmp_path / "a")]) == 0
    rows = json.loads((tmp_path / "a" / "manifest.json").read_text())["files"]
    assert [row["copies"]["tries"] for row in rows] == [2, 2]
    assert all(set(row["copies"]) == {"item", "distance", "limit", "tries", "seed"} for row in rows)
    assert [row["seed"] for row in rows] == [0, 1]


def test_the_recipe() -> None:
    for wrong, said in (
        ("sample.novelty={share: 2}", r"sample\.novelty\.share: 2"),
        ("sample.novelty={tries: 0}", r"sample\.novelty\.tries: 0"),
        ("sample.novelty={tires: 1}", "Did you mean 'tries'"),
        ("train.dedup=some", r"train\.dedup: 'some'"),
        ("train.dedup_near=0", r"train\.dedup_near: 0"),
    ):
        with pytest.raises(RecipeError, match=said):
            load_recipe("image_digits", [wrong])
    model = small("image_digits")
    with pytest.raises(MultigenError, match=r"sample\.novelty: the requests of one model share"):
        model.batcher(Request("7", overrides=("sample.novelty={tries: 1}",)))
    assert dataclasses.asdict(model.recipe)["sample"]["novelty"] is None
