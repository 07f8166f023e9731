"""A prompt without each of its words."""

from __future__ import annotations

import re

ALL = "all words"  # as if it were a word: the empty prompt
# A text between brackets with a weight, which is one, or what stands between blanks.
_WORD = re.compile(r"\([^()]*:[\d.]+\)|\S+")


def without_each(prompt: str) -> list[tuple[str, str]]:
    """Each word of a text, and the text without it; of more than one word, last `ALL`, and the empty text."""
    words = _WORD.findall(prompt)
    left = [(word, " ".join([*words[:k], *words[k + 1 :]])) for k, word in enumerate(words)]
    return [*left, (ALL, "")] if len(words) > 1 else left
