"""What lies beyond the ends of circles and of a globe."""

from __future__ import annotations

import torch

from multigen.core.circles import OPEN, Closed, extend

X = torch.arange(12.0).view(1, 1, 2, 6)


def test_a_circle_goes_on_with_its_other_end() -> None:
    around = extend(X, (2, 1, 0, 0), Closed((-1,)))
    assert around[0, 0, 0].tolist() == [4, 5, 0, 1, 2, 3, 4, 5, 0]
    both = extend(X, (1, 1, 1, 1), Closed((-1, -2)))
    assert both[0, 0, 0].tolist() == [11, 6, 7, 8, 9, 10, 11, 6]
    assert both[0, 0, -1].tolist() == [5, 0, 1, 2, 3, 4, 5, 0]


def test_what_is_longer_than_the_circle_goes_round_again() -> None:
    assert extend(X, (8, 0), Closed((-1,)))[0, 0, 0, :8].tolist() == [4, 5, 0, 1, 2, 3, 4, 5]


def test_beyond_a_pole_it_goes_on_half_a_turn_further_upside_down() -> None:
    globe = extend(X, (1, 0, 2, 1), Closed((-1,), poles=True))[0, 0]
    assert globe[:, 1:].tolist() == [
        [9, 10, 11, 6, 7, 8],
        [3, 4, 5, 0, 1, 2],
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10, 11],
        [9, 10, 11, 6, 7, 8],
    ]
    assert globe[:, 0].tolist() == [8, 2, 5, 11, 8]


def test_open_axes_have_zeros_around() -> None:
    assert torch.equal(extend(X, (1, 2, 3, 4), OPEN), torch.nn.functional.pad(X, (1, 2, 3, 4)))
    rows = [[0, *range(6, 12)], [0, *range(6)], [0, *range(6, 12)]]
    assert extend(X, (1, 0, 1, 0), Closed((-2,)))[0, 0].tolist() == rows
