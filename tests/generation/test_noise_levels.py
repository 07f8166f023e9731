"""Intervals of noise levels, sums of maps in them, and words of tokens."""

from __future__ import annotations

import itertools
import math

import torch

from multigen import registry
from multigen.generation.noise_levels import Sums, intervals, place
from multigen.generation.prompt_words import Word, grouped, of_words
from multigen.registry import Part


def test_each_query_lies_in_one_interval() -> None:
    schedule = registry.build("schedule", Part("flow"))
    ts = torch.linspace(1, 0, 13, dtype=torch.float64)
    found = intervals(schedule, ts, 4)
    assert [place(found, float(t)) for t in ts[:-1]] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert place(found, 0.0) == 3 and place(found, 2.0) == 0  # polish, and what begins above the grid
    assert all(a.low == b.high for a, b in itertools.pairwise(found))
    for one in found[:-1]:  # sigma/alpha of a flow is t/(1 - t)
        assert math.isclose(one.least, one.low / (1 - one.low), rel_tol=1e-9)
    assert [str(one) for one in found] == ["over 3", "3 to 1", "1 to 0.33", "under 0.33"]
    assert len(intervals(schedule, ts[:3], 9)) == 2  # no more than steps


def test_means_are_those_of_all_maps() -> None:
    noise = torch.Generator().manual_seed(0)
    maps = [(k, torch.rand(3, 1, 8, 8, generator=noise)) for k in (0, 0, 1, 1, 1)]
    sums = Sums(3)
    for k, one in maps:
        sums.add(k, one)
    means = sums.means()
    assert means is not None and means.shape == (4, 3, 1, 8, 8)
    torch.testing.assert_close(means[0], torch.stack([one for _, one in maps]).mean(0))
    torch.testing.assert_close(means[2], torch.stack([one for k, one in maps if k == 1]).mean(0))
    assert not means[3].any()
    assert Sums(2).means() is None and Sums(2).total() is None


def test_a_larger_map_enlarges_the_sum_and_no_more() -> None:
    sums = Sums(1)
    sums.add(0, torch.arange(4.0).view(1, 1, 2, 2))
    sums.add(0, torch.ones(1, 1, 4, 4))
    for _ in range(50):
        sums.add(0, torch.zeros(1, 1, 2, 2))
    total = sums.total()
    assert total is not None and total.shape == (1, 1, 4, 4)
    assert total[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert sums.counts == [52]


def test_tokens_are_words() -> None:
    bert = ["[CLS]", "a", "dough", "##nut", ",", "red", "[SEP]"]
    assert grouped(bert) == [
        Word("a", (1,)), Word("doughnut", (2, 3)), Word(",", (4,)), Word("red", (5,)),
        Word("(start and end)", (0, 6)),
    ]  # fmt: skip
    clip = ["<|startoftext|>", "dough", "nut</w>", "red</w>", "<|endoftext|>", "<|endoftext|>"]
    assert grouped(clip) == [Word("doughnut", (1, 2)), Word("red", (3,)), Word("(start and end)", (0, 4, 5))]
    assert grouped(["▁red", "▁dough", "nut", "</s>"]) == [
        Word("red", (0,)), Word("doughnut", (1, 2)), Word("(start and end)", (3,)),
    ]  # fmt: skip
    maps = torch.rand(2, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    found = of_words(maps, [Word("x", (0, 2)), Word("y", (1,))])
    torch.testing.assert_close(found[:, 0], maps[:, 0] + maps[:, 2])
    torch.testing.assert_close(found[:, 1], maps[:, 1])
