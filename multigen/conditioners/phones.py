"""The sounds of English, as tokens: those of the CMU Pronouncing Dictionary without stress, and letters."""

from __future__ import annotations

from typing import NamedTuple

PHONES = (
    *(
        "AA",
        "AE",
        "AH",
        "AO",
        "AW",
        "AY",
        "B",
        "CH",
        "D",
        "DH",
        "EH",
        "ER",
        "EY",
        "F",
        "G",
        "HH",
        "IH",
        "IY",
        "JH",
    ),
    *(
        "K",
        "L",
        "M",
        "N",
        "NG",
        "OW",
        "OY",
        "P",
        "R",
        "S",
        "SH",
        "T",
        "TH",
        "UH",
        "UW",
        "V",
        "W",
        "Y",
        "Z",
        "ZH",
    ),
)
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
UNKNOWN, PAUSE = 0, 1  # tokens: nothing is said of a place; silence
_FIRST = 2
_LETTER = _FIRST + len(PHONES)
TOKENS = _LETTER + len(LETTERS)  # how many there are

PHONE = {name: _FIRST + k for k, name in enumerate(PHONES)}
LETTER = {name: _LETTER + k for k, name in enumerate(LETTERS)}
# A dictionary's file spells each phone as one character.
CODE = {chr(ord("A") + k): name for k, name in enumerate(PHONES)}


class Spoken(NamedTuple):
    """What is said in a medium, and when.

    tokens  phones, pauses and letters, in order
    ends    where each ends, in s from the beginning of the medium; the first begins at `first`
    first   s; below 0 where the medium begins within a sentence
    fits    the times count from the beginning of what is made and are stretched to fill it
    """

    tokens: tuple[int, ...]
    ends: tuple[float, ...]
    first: float = 0.0
    fits: bool = False
