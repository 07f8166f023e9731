"""Turns: who begins next, and how a call is shared."""

from __future__ import annotations

import random

import pytest

from multigen.serving.engine.turns import Turns


def beginning(turns: Turns, waiting: dict[str, list[tuple[int, int]]]) -> list[int]:
    """The places in the order in which they begin."""
    order: list[int] = []
    while (turn := turns.next(waiting)) is not None:
        key, place = turn
        waiting[key] = [row for row in waiting[key] if row[1] != place]
        order.append(place)
    return order


def test_users_take_turns_and_each_in_the_order_of_its_requests() -> None:
    waiting = {"a": [(0, k) for k in range(4)], "b": [(0, 10), (0, 11)], "c": [(0, 20)]}
    assert beginning(Turns(), waiting) == [0, 10, 20, 1, 11, 2, 3]


def test_a_higher_priority_begins_first_whoever_had_the_last_turn() -> None:
    turns = Turns()
    assert turns.next({"a": [(0, 1)], "b": [(0, 2)]}) == ("a", 1)
    assert beginning(turns, {"a": [(0, 3), (5, 4)], "b": [(0, 2), (1, 5)]}) == [4, 5, 3, 2]


def test_the_line_is_the_order_in_which_they_begin() -> None:
    drawn = random.Random(0)
    for _ in range(50):
        turns = Turns()
        turns.next({key: [(0, -1)] for key in drawn.sample("abcd", 2)})
        rows = [(drawn.choice("abcd"), 0, place) for place in range(12)]
        lines = turns.lines(rows)
        waiting: dict[str, list[tuple[int, int]]] = {}
        for key, priority, place in rows:
            waiting.setdefault(key, []).append((priority, place))
        assert [lines[place] for place in beginning(turns, waiting)] == list(range(12))


@pytest.mark.parametrize(
    ("under_way", "most", "shares"),
    [
        ({"a": 8}, 4, {"a": 4}),
        ({"a": 8, "b": 1}, 8, {"a": 1, "b": 1}),
        ({"a": 8, "b": 3}, 16, {"a": 3, "b": 3}),
        ({"a": 8, "b": 8}, 4, {"a": 2, "b": 2}),
        ({"a": 2, "b": 2, "c": 2}, 2, {"a": 1, "b": 1}),
        ({}, 4, {}),
    ],
)
def test_a_call_is_shared_by_users(under_way: dict[str, int], most: int, shares: dict[str, int]) -> None:
    places = {key: [100 * k + i for i in range(count)] for k, (key, count) in enumerate(under_way.items())}
    chosen = Turns().share(places, most)
    assert {
        key: sum(place in own for place in chosen) for key, own in places.items() if set(own) & set(chosen)
    } == shares
    assert len(set(chosen)) == len(chosen) <= most


def test_all_places_of_a_user_get_their_turn() -> None:
    turns, places = Turns(), {"a": list(range(5)), "b": [10]}
    counts = dict.fromkeys([*range(5), 10], 0)
    for _ in range(20):
        for place in turns.share(places, 8):
            counts[place] += 1
    assert counts == {**dict.fromkeys(range(5), 4), 10: 20}


def test_every_user_is_served_where_there_are_more_than_places() -> None:
    turns, places = Turns(), {key: [k] for k, key in enumerate("abcde")}
    seen = [place for _ in range(5) for place in turns.share(places, 2)]
    assert {seen.count(k) for k in range(5)} == {2}


def test_users_who_left_are_forgotten() -> None:
    turns = Turns()
    for k in range(100):
        turns.next({f"user {k}": [(0, k)]})
        turns.share({f"user {k}": [k]}, 4)
    turns.keep({"user 99"})
    turns.share({}, 4)
    assert list(turns._last) == ["user 99"] and not turns._rings
