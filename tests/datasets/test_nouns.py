"""Plurals and articles of captions, against words looked up by hand."""

from __future__ import annotations

import pytest

from multigen.datasets.nouns import plural, sayable, with_article


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("red apple", "red apples"),
        ("strawberry", "strawberries"),
        ("monkey", "monkeys"),
        ("fox", "foxes"),
        ("peach", "peaches"),
        ("bus", "buses"),
        ("cactus", "cactuses"),
        ("dress", "dresses"),
        ("slice of pizza", "slices of pizza"),
        ("glass of milk", "glasses of milk"),
        ("mouse", "mice"),
        ("kitchen knife", "kitchen knives"),
        ("fish", "fish"),
        ("goose", "geese"),
        ("mango", "mangoes"),
        ("octopus", "octopuses"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    "name", ["cherries", "scissors", "cooked rice", "man running", "pot in hand", "keycap 3"]
)
def test_what_is_not_counted(name: str) -> None:
    assert plural(name) is None


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("slice of pizza", True),
        ("jack-o-lantern", True),
        ("person walking facing right", False),
        ("couple with heart", False),
        ("family of man, woman", False),
        ("keycap 3", False),
        ("black and white cat", False),
    ],
)
def test_names_that_stand_beside_others(name: str, allowed: bool) -> None:
    assert sayable(name) is allowed


def test_articles() -> None:
    assert [with_article(n) for n in ("car", "owl", "unicorn")] == ["a car", "an owl", "a unicorn"]
