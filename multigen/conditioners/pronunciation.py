"""English text -> phones, by the CMU Pronouncing Dictionary; words that it lacks stay letters."""

from __future__ import annotations

import lzma
from functools import cache
from pathlib import Path
from typing import NamedTuple

from multigen.conditioners.phones import CODE, LETTER, PAUSE, PHONE
from multigen.conditioners.written import PAUSE as SILENT
from multigen.conditioners.written import spoken_words

_DICTIONARY = Path(__file__).parents[1] / "sounds" / "pronunciations.txt.xz"  # see LICENSE-cmudict.txt


class Word(NamedTuple):
    """A word and its tokens; a pause has no text."""

    text: str
    tokens: tuple[int, ...]


def words_of(text: str) -> list[Word]:
    """Split a text into words and pauses.

    Numbers, prices and common signs are spelt out, accents fall away; a pause stands where punctuation parts words.
    MultigenError for writing that has no letters of English.
    """
    found: list[Word] = []
    for piece in spoken_words(text):
        if piece == SILENT:
            if found and found[-1].text:
                found.append(Word("", (PAUSE,)))
        else:
            found.append(Word(piece, pronounce(piece)))
    while found and not found[-1].text:
        found.pop()
    return found


def pronounce(word: str) -> tuple[int, ...]:
    """The phones of a word; its letters where the dictionary does not have it."""
    for one in (word, word.replace("'", ""), word.removesuffix("'")):
        if one in dictionary():
            return dictionary()[one]
    if word.endswith("'s") and word[:-2] in dictionary():
        return (*dictionary()[word[:-2]], PHONE["Z"])
    return in_letters(word)


def in_letters(word: str) -> tuple[int, ...]:
    """A word as the tokens of its letters."""
    return tuple(LETTER[letter] for letter in word)


@cache
def dictionary() -> dict[str, tuple[int, ...]]:
    """The phones of each word."""
    with lzma.open(_DICTIONARY, "rt", encoding="utf-8") as lines:
        split = (line.split() for line in lines)
        return {word: tuple(PHONE[CODE[code]] for code in codes) for word, codes in split}
