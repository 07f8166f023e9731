"""Budgets of keys."""

from __future__ import annotations

import pytest

from multigen.errors import MultigenError
from multigen.serving.guard.budgets import Bucket, Budget, Spent


def test_a_bucket_gives_what_is_in_it_and_fills_again() -> None:
    now = [0.0]
    bucket = Bucket(6, "requests", clock=lambda: now[0])
    for _ in range(6):
        bucket.take(1)
    with pytest.raises(Spent, match="used up") as caught:
        bucket.take(1)
    assert caught.value.seconds == pytest.approx(10.0)
    now[0] = 9.9
    with pytest.raises(Spent):
        bucket.take(1)
    now[0] = 10.1
    bucket.take(1)
    now[0] = 1000.0
    for _ in range(6):
        bucket.take(1)
    with pytest.raises(Spent):
        bucket.take(1)


def test_what_never_fits_is_no_matter_of_waiting() -> None:
    bucket = Bucket(5, "units")
    with pytest.raises(MultigenError, match="ask for less") as caught:
        bucket.take(5.1)
    assert not isinstance(caught.value, Spent)
    bucket.take(5)  # nothing was taken by the refusal


def test_without_a_bound_there_is_none() -> None:
    budget = Budget()
    budget.requests.take(1e9)
    budget.units.take(1e9)


def test_what_is_given_back_can_be_taken_again() -> None:
    bucket = Bucket(5, "units", clock=lambda: 0.0)
    bucket.take(5)
    bucket.give_back(3)
    bucket.take(3)
    bucket.give_back(100)
    bucket.take(5)
    with pytest.raises(Spent):
        bucket.take(0.1)
