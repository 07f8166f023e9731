"""Written English -> words and pauses: numbers, prices, signs, abbreviations and punctuation as one says them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from multigen.conditioners.numerals import spoken_number
from multigen.errors import MultigenError

PAUSE = ""  # where punctuation parts words
_SIGNS = {
    "&": " and ", "%": " percent ", "@": " at ", "+": " plus ", "=": " equals ", "°": " degrees ", "#": " number ",
    "*": " ", "_": " ", "/": " ", "\u2044": " ", "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'",
    "\u2013": ",", "\u2014": ",", "\u2026": ",", "\u2212": "-", "½": " a half ", "¼": " a quarter ",
    "¾": " three quarters ", "$": " dollars ", "£": " pounds ", "€": " euros ",
}  # fmt: skip
_MONEY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_SCALES = {"k": "thousand", "m": "million", "bn": "billion"}
_TITLES = {"mr.": "mister", "mrs.": "missus", "ms.": "miz", "dr.": "doctor", "st.": "saint", "vs.": "versus"}
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
_PRICE = re.compile(
    rf"([$£€])\s?({_NUMBER})(?:\s?(thousand|million|billion|trillion|bn|m|k)\b)?", re.IGNORECASE
)
_MINUS = re.compile(r"(?<![\w)])[-\u2212](?=\d)")
_PIECE = re.compile(
    rf"{_NUMBER}(?:st|nd|rd|th|s)?(?![a-z])|{_NUMBER}|(?:{'|'.join(t[:-1] for t in _TITLES)})\.|(?:[a-z]\.){{2,}}"
    r"|[a-z]+(?:'[a-z]+)*|[,;:.!?()]+|[-\"'`~^|\\<>\[\]{}]+|[^\sa-z\d,;:.!?()\-\"'`~^|\\<>\[\]{}]+"
)
_SILENT = set("-\"'`~^|\\<>[]{}")


def spoken_words(text: str) -> Iterator[str]:
    """The words of a text, lower case, and `PAUSE` where punctuation parts them.

    MultigenError for writing that has no letters of English.
    """
    for piece in _PIECE.findall(_plain(text)):
        if piece in _TITLES:
            yield _TITLES[piece]
        elif piece[0].isdigit():
            yield from spoken_number(piece)
        elif "a" <= piece[0] <= "z":
            yield from piece.split(".")[:-1] if piece.endswith(".") else [piece]
        elif piece[0] in ",;:.!?()":
            yield PAUSE
        elif not set(piece) <= _SILENT:
            raise MultigenError(
                f"prompt: {piece!r} cannot be spoken. Allowed: English letters, digits and punctuation."
            )


def _plain(text: str) -> str:
    """A text in letters of English, digits and punctuation, as far as it has any."""
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc"))
    text = _PRICE.sub(lambda found: f" {_price(*found.groups())} ", text)
    text = _MINUS.sub(" minus ", text)
    text = "".join(_SIGNS.get(c) or _apart(c) for c in text)
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(letters).casefold()


def _apart(character: str) -> str:
    """A raised or circled digit stands apart from the number before it."""
    return f" {character} " if unicodedata.category(character) == "No" else character


def _price(sign: str, number: str, scale: str | None) -> str:
    unit, small = _MONEY[sign]
    whole, _, rest = number.partition(".")
    if scale is not None:
        return f"{number} {_SCALES.get(scale.lower(), scale)} {unit}s"
    if len(rest) != 2:
        return f"{number} {unit}{'' if number == '1' else 's'}"
    said = f"{whole} {unit}{'' if whole == '1' else 's'}"
    smalls = small if int(rest) == 1 else "pence" if small == "penny" else f"{small}s"
    return said if int(rest) == 0 else f"{said} and {int(rest)} {smalls}"
