# ruff: noqa: RUF001
"""Letters of other alphabets that look like Latin ones, and words in which they hide.

A word of one alphabet is left alone: Russian and Greek are languages. A word that mixes alphabets is written in the one
that all its letters can be read in. The pairs are those of Unicode's confusables (UTS 39) that are alike in most fonts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_CYRILLIC = dict(zip("АВЕЅІЈКМНОРСТУХаеѕіјорсухԁһӏԛԝ", "ABESIJKMHOPCTYXaesijopcyxdhlqw", strict=True))
_GREEK = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧον", "ABEZHIKMNOPTYXov", strict=True))
_ARMENIAN = dict(zip("օսհՕՍ", "ouhOU", strict=True))
_CHEROKEE = dict(zip("ᎪᏴᏟᎠᎬᎻᎫᏦᏞᎷᏢᏒᏚᏔᏙᏃ", "ABCDEHJKLMPRSWVZ", strict=True))
LATIN: Mapping[str, str] = {**_CYRILLIC, **_GREEK, **_ARMENIAN, **_CHEROKEE}
# Small capitals and the like are Latin letters for Unicode; weaker likenesses serve rules, not prompts.
LOOSE: Mapping[str, str] = {
    **LATIN,
    **dict(zip("ոցյզε", "ngjqe", strict=True)),
    **dict(zip("αβγικρτυωηвкмнтпгья", "abyikptuwnbkmhtnrbr", strict=True)),
    **dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢıɑɡøđłħ", "abcdefghijklmnoprstuvwyziagodlh", strict=True)),
}
_BACK = {latin: other for other, latin in _CYRILLIC.items() if other not in "ԁһӏԛԝ"}  # not in Russian words
_WORD = re.compile(r"\w+")
_ALPHABETS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")


def unmixed(text: str) -> str:
    """Write each word that mixes alphabets in one: in Latin where all its letters look so, else in Cyrillic.

    >>> unmixed("red \\u0430pple"), unmixed("\\u044f\\u0431\\u043b\\u043e\\u043ao")
    ('red apple', '\\u044f\\u0431\\u043b\\u043e\\u043a\\u043e')
    """
    return text if text.isascii() else _WORD.sub(lambda found: _one_alphabet(found[0]), text)


def _one_alphabet(word: str) -> str:
    if word.isascii():
        return word
    used = {_alphabet(c) for c in word if c.isalpha()}
    if "LATIN" not in used or len(used) < 2:
        return word
    if all(_alphabet(c) == "LATIN" or c in LATIN for c in word if c.isalpha()):
        return "".join(LATIN.get(c, c) for c in word)
    if used == {"LATIN", "CYRILLIC"} and all(_alphabet(c) != "LATIN" or c in _BACK for c in word):
        return "".join(_BACK.get(c, c) for c in word)
    return word


def _alphabet(character: str) -> str:
    name = unicodedata.name(character, "").partition(" ")[0]
    return name if name in _ALPHABETS else ""
