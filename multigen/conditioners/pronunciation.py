"""English text -> phones, by the CMU Pronouncing Dictionary; words that it lacks stay letters."""

from __future__ import annotations

import lzma
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from multigen.conditioners.numerals import spoken_number
from multigen.conditioners.phones import CODE, LETTER, LETTERS, PAUSE, PHONE
from multigen.errors import MultigenError

_DICTIONARY = Path(__file__).parents[1] / "sounds" / "pronunciations.txt.xz"  # see LICENSE-cmudict.txt
_SIGNS = {
    "&": " and ", "%": " percent ", "@": " at ", "+": " plus ", "=": " equals ", "°": " degrees ", "€": " euros ",
    "$": " dollars ", "£": " pounds ", "#": " number ", "*": " ", "_": " ", "/": " ", "\u201c": '"', "\u201d": '"',
    "\u2018": "'", "\u2019": "'", "\u2013": ",", "\u2014": ",", "\u2026": ",",
}  # fmt: skip
_TITLES = {"mr.": "mister", "mrs.": "missus", "ms.": "miz", "dr.": "doctor", "st.": "saint", "vs.": "versus"}
_MONEY = re.compile(r"([$£€])\s?(\d[\d,]*(?:\.\d+)?)")
_PIECE = re.compile(
    r"\d[\d,]*(?:\.\d+)?(?:st|nd|rd|th)?|[a-z]+(?:['.][a-z]+)*\.?'?|'[a-z]+|[,;:.!?()\"-]+|[^\sa-z\d,;:.!?()]+"
)
_PAUSES = set(",;:.!?()")


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
    for piece in _pieces(text):
        if piece == "":
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
    return tuple(LETTER[letter] for letter in word)


@cache
def dictionary() -> dict[str, tuple[int, ...]]:
    """The phones of each word."""
    with lzma.open(_DICTIONARY, "rt", encoding="utf-8") as lines:
        split = (line.split() for line in lines)
        return {word: tuple(PHONE[CODE[code]] for code in codes) for word, codes in split}


def _pieces(text: str) -> Iterator[str]:
    """The words of a text, lower case, and "" for each pause."""
    plain = _MONEY.sub(lambda m: f"{m[2]} {_SIGNS[m[1]].strip()}", text)
    plain = "".join(_SIGNS.get(c, c) for c in plain)
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c)
    ).casefold()
    for piece in _PIECE.findall(plain):
        if piece in _TITLES:
            yield _TITLES[piece]
        elif piece[0].isdigit():
            yield from spoken_number(piece)
        elif piece[0].isascii() and any(c in LETTERS[:26] for c in piece):
            yield from _written(piece)
        elif set(piece) & _PAUSES:
            yield ""
        elif not set(piece) <= set("-\"'`~^|\\<>[]{}"):
            raise MultigenError(
                f"prompt: {piece!r} cannot be spoken. Allowed: English letters, digits and punctuation."
            )


def _written(piece: str) -> Iterator[str]:
    """A word as it was written; its full stop is a pause unless it is an abbreviation's."""
    if piece in dictionary():
        yield piece
        return
    stop = piece.endswith(".")
    parts: Sequence[str] = piece.rstrip(".").split(".")
    if len(parts) > 1 and all(len(part) == 1 for part in parts):  # u.s.a.
        yield from parts
        return
    yield from parts
    if stop:
        yield ""
