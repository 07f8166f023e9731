"""Cond: joining, choosing, padding, and what is refused."""

from __future__ import annotations

import pytest
import torch

from multigen.core import Cond
from multigen.core.noise import normal


def full(n: int, length: int, seed: int = 0) -> Cond:
    mask = torch.ones(n, length, dtype=torch.bool)
    return Cond(
        normal((n, 4), seed, "v"), normal((n, length, 3), seed, "t"), mask, normal((n, 2, 5, 6), seed, "g")
    )


def same(a: Cond, b: Cond) -> None:
    for name in ("vector", "tokens", "mask", "grid"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        assert left is None or torch.equal(left, right)


def test_cat_pads_tokens_and_keeps_rows() -> None:
    short, long = full(2, 3, 1), full(1, 5, 2)
    both = Cond.cat([short, long])
    assert both.tokens is not None
    assert both.mask is not None
    assert both.mask.tolist() == [[True] * 3 + [False] * 2] * 2 + [[True] * 5]
    assert both.tokens[:2, 3:].abs().sum() == 0
    same(both[2:], long)
    same(both[:2], short.pad(5))
    same(both[[2, 0]], Cond.cat([long, short[:1]]))


def test_cat_of_one_and_of_nothing() -> None:
    one = full(2, 3)
    assert Cond.cat([one]) is one
    same(Cond.cat([Cond(), Cond()]), Cond())


@pytest.mark.parametrize(
    "other",
    [
        Cond(),
        Cond(torch.zeros(1, 4)),
        Cond(torch.zeros(1, 5), *(getattr(full(1, 3), n) for n in ("tokens", "mask", "grid"))),
        Cond(*(getattr(full(1, 3), n) for n in ("vector", "tokens", "mask")), torch.zeros(1, 2, 5, 7)),
    ],
)
def test_differing_structures_raise(other: Cond) -> None:
    assert other.structure != full(1, 3).structure
    with pytest.raises(ValueError, match="different structure cannot share a batch"):
        Cond.cat([full(1, 3), other])
    with pytest.raises(ValueError, match="different structure cannot share a batch"):
        full(1, 3).where(torch.tensor([True]), other)


def test_structure_ignores_batch_and_length() -> None:
    assert full(1, 3).structure == full(4, 9).structure


def test_where_drops_conditions_row_by_row() -> None:
    mine, null = full(4, 5, 1), full(1, 1, 2)
    keep = torch.tensor([True, False, True, False])
    mixed = mine.where(keep, null.expand(4))
    same(mixed[[0, 2]], mine[[0, 2]])
    same(mixed[[1, 3]], Cond.cat([null, null]).pad(5))
    shorter = null.expand(4).where(keep, mine)
    same(shorter[[1, 3]], mine[[1, 3]])


def test_expand_repeats_one_and_refuses_others() -> None:
    one = full(1, 2)
    same(one.expand(3), one[[0, 0, 0]])
    assert full(3, 2).expand(3).batch_size == 3
    assert Cond().expand(7).batch_size is None
    with pytest.raises(ValueError, match="batch size 2 cannot serve 3"):
        full(2, 2).expand(3)


def test_pad_refuses_to_cut() -> None:
    assert full(1, 3).pad(3).tokens is not None
    with pytest.raises(ValueError, match="3 tokens do not fit in 2"):
        full(1, 3).pad(2)


TOKENS = torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"tokens": TOKENS}, "must be given together"),
        ({"mask": torch.ones(2, 3, dtype=torch.bool)}, "must be given together"),
        ({"tokens": TOKENS, "mask": torch.ones(2, 3)}, "the tokens need torch.bool"),
        ({"tokens": TOKENS, "mask": torch.ones(2, 4, dtype=torch.bool)}, "the tokens need torch.bool"),
        ({"tokens": TOKENS, "mask": torch.tensor([[True, False, False], [False] * 3])}, "one valid token"),
        ({"vector": torch.zeros(3, 1), "grid": torch.zeros(2, 1, 4)}, "differ in batch size"),
        (
            {"vector": torch.zeros(3, 1), "tokens": TOKENS, "mask": torch.ones(2, 3, dtype=torch.bool)},
            "differ in batch size",
        ),
    ],
)
def test_broken_conditions_are_refused(parts: dict[str, torch.Tensor], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Cond(**parts)


def test_extra_values_are_rows_like_the_others() -> None:
    """They are joined, chosen, repeated and moved with the rest; their names and shapes belong to the structure."""
    one = full(1, 3).with_extra("scale", torch.tensor([[2.0]]))
    two = full(2, 4).with_extra("scale", torch.tensor([[3.0]]))  # one row for the whole batch
    assert two.extra["scale"].tolist() == [[3.0], [3.0]]
    both = Cond.cat([one, two])
    assert both.extra["scale"].tolist() == [[2.0], [3.0], [3.0]]
    assert both[1:2].extra["scale"].tolist() == [[3.0]]
    assert both.pad(9).extra["scale"].tolist() == both.extra["scale"].tolist()
    assert one.expand(4).extra["scale"].shape == (4, 1)
    null = full(3, 2).with_extra("scale", torch.zeros(3, 1))
    keep = torch.tensor([True, False, True])
    assert both.where(keep, null).extra["scale"].tolist() == [[2.0], [0.0], [3.0]]
    assert both.where(keep, null, "tokens").extra["scale"].tolist() == [[2.0], [3.0], [3.0]]
    assert one.structure != full(1, 3).structure
    assert one.structure != one.with_extra("scale", torch.zeros(1, 2)).structure
    with pytest.raises(ValueError, match="different structure"):
        Cond.cat([one, full(1, 3)])
    with pytest.raises(ValueError, match="differ in batch size"):
        Cond(torch.zeros(2, 1), extra={"scale": torch.zeros(3, 1)})
    assert Cond(extra={"scale": torch.zeros(3, 1)}).batch_size == 3
