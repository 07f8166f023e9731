"""Text as it is spoken: numbers, signs, punctuation, and words that no dictionary has."""

from __future__ import annotations

import pytest

from multigen.conditioners.numerals import spoken_number
from multigen.conditioners.phones import LETTER, PAUSE, PHONES, TOKENS
from multigen.conditioners.pronunciation import dictionary, pronounce, words_of
from multigen.errors import MultigenError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "zero"),
        ("7", "seven"),
        ("21st", "twenty first"),
        ("2nd", "second"),
        ("12th", "twelfth"),
        ("30th", "thirtieth"),
        ("1,250", "one thousand two hundred fifty"),
        ("1000000", "one million"),
        ("3.14", "three point one four"),
        ("007", "zero zero seven"),
        ("1234567890123456", "one two three four five six seven eight nine zero one two three four five six"),
    ],
)
def test_numbers_in_words(text: str, said: str) -> None:
    assert " ".join(spoken_number(text)) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello, world!", "hello | world"),
        ("It\u2019s 5% of a naïve café…", "it's five percent of a naive cafe"),
        ("$3.50 & £2", "three dollars and fifty cents and two pounds"),
        ("$1, $5 million, €1.5bn", "one dollar | five million dollars | one point five billion euros"),
        ("1,2,3 and 12,500", "one | two | three and twelve thousand five hundred"),
        ("In 2020, we left.", "in two thousand twenty | we left"),
        ("It is -5 degrees.", "it is minus five degrees"),
        ("Come in. Sit down. It was I. You", "come in | sit down | it was i | you"),
        ("\u2018I must go.\u2019 he said", "i must go | he said"),
        ("3² and ½ cup", "three two and a half cup"),
        ("the 1990s, the U.S.A. and p.m.", "the nineteen nineties | the u s a and p m"),
        ("zero\u200bwidth 1905 1900", "zerowidth nineteen oh five nineteen hundred"),
        ("Dr. Smith's well-known cat.", "doctor smith's well known cat"),
        ("(yes) -- no", "yes | no"),
        ("he said: “go”", "he said | go"),
        ("", ""),
        ("...", ""),
    ],
)
def test_text_in_words_and_pauses(text: str, said: str) -> None:
    assert " ".join(word.text or "|" for word in words_of(text)) == said


def test_the_dictionary_spells_every_phone() -> None:
    assert len(dictionary()) > 120_000
    assert {t for phones in dictionary().values() for t in phones} == set(range(2, 2 + len(PHONES)))
    names = [PHONES[token - 2] for token in pronounce("diffusion")]
    assert names == ["D", "IH", "F", "Y", "UW", "ZH", "AH", "N"]


def test_words_without_an_entry_are_letters() -> None:
    assert pronounce("zorble") == tuple(LETTER[c] for c in "zorble")
    assert pronounce("smith's") == dictionary()["smith's"]
    assert pronounce("zebra's")[:-1] == pronounce("zebra")
    assert max(LETTER.values()) == TOKENS - 1


def test_a_pause_is_a_token_of_its_own() -> None:
    assert words_of("one, two")[1].tokens == (PAUSE,)


@pytest.mark.parametrize("text", ["Привет", "hello 你好", "one 🍎"])
def test_other_writing_is_refused(text: str) -> None:
    with pytest.raises(MultigenError, match="cannot be spoken. Allowed: English letters"):
        words_of(text)
