"""The judge of groups: no real medium is judged by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.datasets import Item
from multigen.evaluation.groups import measure_groups, wilson
from multigen.evaluation.groups_judge import Judge, Real
from multigen.evaluation.metrics import Target
from multigen.evaluation.sets import MediaSet
from multigen.recipe.load import override_recipe
from tests.evaluation.test_groups import Colours, Mean
from tests.model.test_model import small


class Noise(Colours):
    """Pictures of noise, whose captions name two groups; draws of an item are almost the same."""

    holds_out = "captions"

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Item:
        noise = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index))
        return {"media": noise, "id": str(index), "text": ("red", "green")[index % 2]}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        item = self[index]
        return {**item, "media": item["media"] + 0.1 * torch.randn(3, 8, 8, generator=rng)}

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        return range(50), range(50, 60)


class Pixels(Mean):
    """The picture itself."""

    def __call__(self, media: Tensor) -> Tensor:
        return media.flatten(1)[:, None]


def test_a_judge_of_noise_is_right_by_chance() -> None:
    """Training items are judged by the others: by means that hold them, all would be judged rightly."""
    model = small("image_digits")
    model.recipe = override_recipe(model.recipe, ["evaluate.groups={names: {red: [], green: []}, n: 4}"])
    neutral = MediaSet("neutral", [torch.randn(3, 8, 8)] * 4, [Target("")] * 4)
    found = measure_groups(model, Noise(), [], {}, Pixels(), neutral)
    assert found is not None
    right = found["judge_right"]
    assert 0.25 < right["share"] < 0.7 and right == wilson(right["count"], 50)
    assert [row["training"] for row in found["rows"]] == [wilson(25, 50)] * 2


def test_a_judge_leaves_out_every_draw_of_what_it_looks_at() -> None:
    features = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    items, groups = [0, 1, 2, 3, 0, 1, 2, 3, 4], ["a", "b", "a", "b", "b", "b", "a", "b", None]
    seen = Real(items, groups, features)
    assert Counter(seen.once()) == {"a": 2, "b": 2} and (seen.named("a"), seen.named("b")) == (2, 3)
    judge = Judge(["a", "b"], seen)
    real = Real([0, 3, 4, 7], [None] * 4, torch.randn(4, 4, dtype=torch.float64))
    expected = []
    for item, row in zip(real.items, real.features, strict=True):
        kept = {name: [k for k in range(9) if groups[k] == name and items[k] != item] for name in "ab"}
        apart = {name: float((features[rows].mean(0) - row).norm()) for name, rows in kept.items()}
        expected.append(min(apart, key=lambda name: apart[name]))
    assert judge.of_real(real) == expected
    unknown = real._replace(items=[-1] * 4)
    assert judge.of_real(unknown) == judge(real.features)
