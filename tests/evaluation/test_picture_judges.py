"""Judges of style, number and variety on pictures whose answer is known, and the sets of captions that they need."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets import CaptionKind
from multigen.datasets.digits import Digits
from multigen.datasets.emoji import Emoji
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation import sets
from multigen.evaluation.caption_kinds import drawn_of_kind
from multigen.evaluation.metrics import Metric, Target, repeated, shuffled
from multigen.modalities.image import Image
from multigen.registry import Part

FOLDER = Path(__file__).parents[1] / "datasets" / "emoji"
STYLES = ("classic", "detailed", "flat", "3d")
SIZE = 32


@cache
def data(several: float = 0.4, unstyled: float = 0.3, held_out: float = 0.1) -> Emoji:
    return Emoji(
        modality=Image(size=SIZE),
        styles=STYLES,
        path=str(FOLDER),
        several=several,
        unstyled=unstyled,
        held_out=held_out,
    )


def metric(name: str, dataset: object = None, **arguments: object) -> Metric:
    given = {"modality": Image(size=SIZE), "dataset": data() if dataset is None else dataset}
    return registry.build("metric", Part(name, arguments), where="evaluate.metrics", given=given)


def drawn(dataset: Emoji, n: int) -> tuple[list[Tensor], list[Target]]:
    train = dataset.split()[0]
    items = [dataset.draw(train[k % len(train)], stream(k, "other")) for k in range(n)]
    return [i["media"] for i in items], [Target(i.get("text", ""), i["id"]) for i in items]


@pytest.mark.slow
def test_a_style_is_recognised_and_another_is_not() -> None:
    alone = data(several=0.0)
    measure = metric("style", alone, steps=120, drawings=300)
    media, targets = drawn(alone, 100)
    found = measure(media, targets)
    assert found.value >= 0.9
    said = [data().catalogue().style(t.id) is not None for t in targets]
    assert [not math.isnan(v) for v in found.values] == said
    assert measure(media, shuffled(targets)).value < 0.5
    assert math.isnan(measure(media[:1], [Target("red apple", "red apple")]).value)
    with pytest.raises(RecipeError, match="style needs data in several styles"):
        metric("style", Emoji(modality=Image(size=SIZE), names=("red apple", "banana")))


def discs(*centres: tuple[float, float], radius: float) -> Tensor:
    """Blue discs on white."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    inside = torch.stack(
        [(x - SIZE * a) ** 2 + (y - SIZE * b) ** 2 < (SIZE * radius) ** 2 for a, b in centres]
    )
    out = torch.ones(3, SIZE, SIZE)
    out[:2, inside.any(0)] = -0.8
    return out


def test_as_many_are_counted_as_there_are() -> None:
    measure = metric("count", steps=80, drawings=150)
    media, targets = drawn(data(), 150)
    found = measure(media, targets)
    asked = [data().catalogue().count(t.id) for t in targets]
    assert {1, 2, 3} == {a for a in asked if a is not None}
    assert [not math.isnan(v) for v in found.values] == [a is not None for a in asked]
    assert found.value >= 0.95
    shapes = [
        discs((0.5, 0.5), radius=0.3),
        discs((0.26, 0.5), (0.74, 0.5), radius=0.18),
        discs((0.5, 0.27), (0.27, 0.73), (0.73, 0.73), radius=0.18),
    ]
    ids = ["one red apple", "two red apples", "three red apples"]
    for k, shape in enumerate(shapes):
        assert list(measure([shape] * 3, [Target("", i) for i in ids]).values) == [
            float(k == j) for j in range(3)
        ]
    with pytest.raises(RecipeError, match="count needs data whose captions say a number"):
        metric("count", data(several=0.0))


def test_one_picture_again_and_again_has_no_variety_and_the_real_ones_have_all() -> None:
    whole = data(held_out=0.0)
    measure, catalogue = metric("variety", whole), whole.catalogue()
    names = ("red apple", "rocket", "automobile")
    things = [catalogue.find(name) for name in names]
    own = [[whole[k] for k in catalogue.items(thing)] for thing in things if thing is not None]
    assert [len(items) for items in own] == [4, 4, 4]
    assert [{i["id"].rpartition(", ")[0] for i in items} for items in own] == [{name} for name in names]
    media = [i["media"] for items in own for i in items]
    targets = [Target(name, name) for name in names for _ in range(4)]
    assert measure(media, targets).value == pytest.approx(1, abs=1e-3)
    assert measure(repeated(media, targets), targets).value == pytest.approx(0, abs=1e-3)
    half = [media[4 * (k // 4) + k % 2] for k in range(12)]  # two of the four styles
    assert 0.4 < measure(half, targets).value < 0.9
    styled = [Target(f"{t.prompt}, flat", f"{t.id}, flat") for t in targets]
    assert math.isnan(measure(media, styled).value)
    with pytest.raises(RecipeError, match="variety needs captions that may leave the style out"):
        metric("variety", data(unstyled=0.0))


def test_counted_captions_and_those_without_a_style_are_sets_of_their_own() -> None:
    pools = {pool.name: pool for pool in sets.pools_of(data())}
    assert {"seen", "counted", "no style"} <= set(pools)
    catalogue = data().catalogue()
    counted = sets.draw_targets(data(), pools["counted"], 12, seed=0)
    assert all(catalogue.count(t.id) is not None for t in counted)
    asked = sets.draw_items(data(), pools["no style"], 12, 0, "asked")
    real = sets.draw_items(data(), pools["no style"], 12, 0, "ceiling")
    assert [i["id"] for i in asked[::4]] == [i["id"] for i in asked[3::4]]  # four of each
    assert all(catalogue.style(i["id"]) is None for i in asked)
    assert {i["text"] for i in real[:4]} == {real[0]["text"]}
    assert not torch.equal(real[0]["media"], real[1]["media"])
    assert sets.draw_items(data(), pools["no style"], 10, 0, "asked")[:10] is not None
    plain = Emoji(modality=Image(size=SIZE), names=("red apple", "banana", "rocket"), recolour=True)
    assert [p.name for p in sets.pools_of(plain)] == ["seen", "new"]
    digits = Digits(modality=Image(size=28, channels=1))
    assert [p.name for p in sets.pools_of(digits)] == ["held out"]


def test_a_kind_of_caption_that_never_comes_is_refused() -> None:
    with pytest.raises(MultigenError, match="no caption of the dataset is of a kind"):
        drawn_of_kind(data(), [0, 1], CaptionKind(lambda name: False), 2, lambda *k: stream(0, *k))


def test_numbers_that_are_part_of_a_name_are_none() -> None:
    find = data().catalogue().count
    assert (find("two red apples, 3D"), find("three cats"), find("one rocket, flat")) == (2, 3, 1)
    assert find("two of hearts") is None
    assert find("red apple, 3D") is None
