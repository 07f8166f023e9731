"""Prompts without each of their words."""

from __future__ import annotations

from multigen.prompts.left_out import without_each


def test_each_word_is_left_out() -> None:
    assert without_each("red apple, on  white") == [
        ("red", "apple, on white"),
        ("apple,", "red on white"),
        ("on", "red apple, white"),
        ("white", "red apple, on"),
        ("all words", ""),
    ]
    assert without_each("apple") == [("apple", "")]
    assert without_each("  ") == []


def test_what_has_a_weight_is_one() -> None:
    assert without_each("a (red apple:1.3) here")[1] == ("(red apple:1.3)", "a here")
    assert [word for word, _ in without_each("apple (fruit)")] == ["apple", "(fruit)", "all words"]
