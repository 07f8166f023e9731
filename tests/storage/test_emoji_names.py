"""Emoji characters as words."""

from __future__ import annotations

import pytest

from multigen.storage.emoji_names import with_emoji_names


@pytest.mark.parametrize(("text", "words"), [
    ("🍎", "red apple"), ("🍌", "banana"), ("🍎🍌", "red apple banana"), ("two 🍎, please", "two red apple, please"),
    ("❤️", "red heart"), ("⭐", "star"), ("☕", "coffee"), ("🚗", "car"), ("🌽", "ear of maize"), ("🌶️", "hot pepper"),
    ("🇺🇸", "flag us"), ("👍🏽", "thumbs up sign"), ("👩‍🌾", "woman ear of rice"), ("3️⃣", "3️⃣"), ("🫐", "blueberries"),
    ("red apple", "red apple"), ("赤いリンゴ", "赤いリンゴ"), ("Äpfel  ©", "Äpfel  ©"), ("", ""),
])  # fmt: skip
def test_names(text: str, words: str) -> None:
    assert with_emoji_names(text) == words
