"""Rules on what prompts ask for: lists of words by topic, in data files, and how words are found in disguise.

A text is read as several: as it is written, with digits and signs as the letters that they stand for (p0rn, s3x, $ex),
without accents and strokes, with letters that stand apart joined, and with those that are repeated said once; with
letters in circles and raised ones as plain ones, and with what digits and capitals part. Words are found between
boundaries alone: `sex` is not in Essex.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from multigen.errors import MultigenError, message, reason
from multigen.prompts.lookalikes import LOOSE
from multigen.prompts.normal import normalised

_LEET = str.maketrans("0134578@$!|€", "oieastbasiie")
_LETTERS_OF_THEIR_OWN = "ñёй"
_KEYS = ("language", "topics", "both", "always", "except")
# Separators and letters may not overlap, or matching takes exponentially long: "_" is a letter here, and gone before.
_APART = re.compile(r"(?<!\w)\w(?:[\s.,;:*+~/|·•()\[\]{}-]+\w){2,}(?!\w)")
_WITHIN = re.compile(r"(?<=[^\W_])[_.*+~()\[\]{}]+(?=[^\W_])")
# Between small and large letters, and between digits and words of four letters and more: others are names (iPhone13Nu).
_PARTS = re.compile(r"(?<=[^\W\d_]{4})(?=\d)|(?<=\d)(?=[^\W\d_]{4})|(?<=[a-z])(?=[A-Z][a-z])")
_RUN = re.compile(r"[\w.*+~()\[\]{}]+")
_SIGNS = re.compile(r"[^\w\s.-]")
# NFKC keeps white letters on black, and letters with hooks and tails, which have names alone.
_NAMED = re.compile(
    r"(?:NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL|LATIN (?:SMALL|CAPITAL)) LETTER (?:OPEN )?([A-Z])(?: WITH .+)?"
)
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_CODE, _LETTER = re.compile(r"[\w@$!|€]+"), re.compile(r"[^\W\d_]")
_ENTRIES, _LETTERS = 20_000, 200  # most entries of a list, and characters of one
_BYTES = 4 << 20


@dataclass(frozen=True)
class WordList:
    """Words by topic, as `lists/en.yaml` explains them.

    both  topic -> words, and the topic whose words have to be in the prompt, too
    """

    language: str
    topics: Mapping[str, tuple[str, ...]]
    both: Mapping[str, tuple[tuple[str, ...], str]]
    excepted: tuple[str, ...] = ()


def languages() -> list[str]:
    """The languages of the packaged lists, as codes of ISO 639-1."""
    return sorted(
        path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml")
    )


@functools.cache
def packaged(language: str) -> WordList:
    """The list of a language. MultigenError for one that there is none of."""
    if language not in languages():
        raise MultigenError(message("languages", language, languages()))
    return parse(_folder().joinpath(f"{language}.yaml").read_text(encoding="utf-8"), language)


def read(path: Path) -> WordList:
    """A list of the user's: YAML as the packaged ones, or plain text with an entry a line, of the topic `own`.

    MultigenError for one that cannot be read.
    """
    try:
        if path.stat().st_size > _BYTES:
            raise MultigenError(f"{path}: over {_BYTES >> 20} MB; that is no list of words")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MultigenError(f"{path}: cannot be read ({reason(error)})") from None
    if path.suffix in (".yaml", ".yml"):
        return parse(text, str(path))
    lines = [line.strip() for line in text.splitlines()]
    return WordList("", {"own": _words([s for s in lines if s and not s.startswith("#")], str(path))}, {})


def parse(text: str, where: str) -> WordList:
    """A list from YAML. MultigenError for keys and values that it cannot have."""
    try:
        data = yaml.load(text, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise MultigenError(f"{where}: not YAML ({reason(error)})") from None
    if not isinstance(data, dict):
        raise MultigenError(f"{where}: {type(data).__name__} is not allowed. Allowed: a mapping of {_KEYS}.")
    for key in data:
        if key not in _KEYS:
            raise MultigenError(message(f"{where}: {key}", key, _KEYS))
    topics = {
        name: _words(words, f"{where}: topics.{name}") for name, words in _mapping(data, "topics", where)
    }
    for name, words in _mapping(data, "always", where):
        topics[name] = topics.get(name, ()) + _words(words, f"{where}: always.{name}")
    both = {
        name: _pair(pair, topics, f"{where}: both.{name}") for name, pair in _mapping(data, "both", where)
    }
    return WordList(
        str(data.get("language", "")), topics, both, _words(data.get("except", []), f"{where}: except")
    )


class Rules:
    """Lists of words, ready to be looked for. `topics`: those that count; empty: all."""

    def __init__(self, lists: Sequence[WordList], topics: Sequence[str] = ()) -> None:
        known = {name for one in lists for name in (*one.topics, *one.both)}
        for name in topics:
            if name not in known:
                raise MultigenError(message("topics", name, sorted(known)))
        self._topics = frozenset(topics or known)
        self._lists = [(*_compiled(one), one) for one in lists]
        excepted = [word for one in lists for word in one.excepted]
        self._excepted = _pattern(excepted, plain=True) if excepted else None

    def find(self, prompt: str) -> str | None:
        """The topic that a prompt asks for, that of minors before others; None where it asks for none."""
        found: set[str] = set()
        texts: list[str] = []
        for spelt in spellings(prompt):
            text = spelt.casefold()
            texts += readings(text if self._excepted is None else self._excepted.sub(" ", text))
        texts = list(dict.fromkeys(texts))
        for topics, both, one in self._lists:
            said = {name for name, pattern in topics.items() if any(map(pattern.search, texts))}
            paired = {
                n for n, pattern in both.items() if one.both[n][1] in said and any(map(pattern.search, texts))
            }
            found |= said | paired
        found &= self._topics
        return min(found, key=lambda name: (name != "minors", name), default=None)


def spellings(prompt: str) -> list[str]:
    """A prompt as it is written, in plain letters, and with a blank where digits and capitals part it; each once."""
    said = normalised(prompt)
    plain = said if said.isascii() else unicodedata.normalize("NFKC", "".join(map(_unboxed, said)))
    return list(dict.fromkeys((said, plain, _PARTS.sub(" ", plain))))


def _unboxed(character: str) -> str:
    """The letter of one that is white on black, or has a hook or a tail; others as they are."""
    if character.isascii() or character in _LETTERS_OF_THEIR_OWN:
        return character
    if unicodedata.decomposition(character):  # an accent, which is taken off elsewhere, or what NFKC knows
        return character
    found = _NAMED.fullmatch(unicodedata.name(character, ""))
    return found[1].lower() if found else character


def readings(prompt: str) -> list[str]:
    """What a prompt may be read as, in lower case, each once."""
    prompt = normalised(prompt).casefold()
    plain = _REPEATED.sub(r"\1", prompt.replace("_", " "))
    bare, latin = _bare_and_latin(plain)
    found = [plain, bare, latin]
    for one in ("i", "l"):
        letters = _decoded(latin, one)
        found += [letters, _REPEATED.sub(r"\1", _joined(letters))]
    found += [_joined(plain)]
    if (closed := _RUN.sub(_closed, prompt)) != prompt:  # na_ked, but not the words of naked_woman
        latin = _bare_and_latin(closed.replace("_", " "))[1]
        found += [_decoded(latin, one) for one in ("i", "l")]
    return list(dict.fromkeys(found))


def _closed(found: re.Match[str]) -> str:
    """A run without the signs within it; of one letter, such as (x)(x)(x), it is no word."""
    alike = len({c for c in found[0] if c.isalnum()}) < 2
    return found[0] if alike else _WITHIN.sub("", found[0])


def _bare_and_latin(text: str) -> tuple[str, str]:
    """Text without accents and strokes, and that in Latin letters."""
    bare = _REPEATED.sub(r"\1", _without_accents(text))
    return bare, "".join(LOOSE.get(c, c) for c in bare)


def _decoded(text: str, one: str) -> str:
    """Text with the letters that digits and signs stand for; `one`: that of 1."""

    def word(found: re.Match[str]) -> str:
        return found[0].replace("1", one).translate(_LEET) if _LETTER.search(found[0]) else found[0]

    return _CODE.sub(word, text)


def _joined(text: str) -> str:
    """Letters that stand apart as words, with and without the first, which may be an article."""

    def word(found: re.Match[str]) -> str:
        joined = re.sub(r"[\W_]", "", found[0])
        if len(set(joined)) == 1 and _SIGNS.search(found[0]):  # a list, such as "x, x, x"
            return found[0]
        return f"{joined} {joined[1:]}"

    return _APART.sub(word, text)


def _compiled(one: WordList) -> tuple[dict[str, re.Pattern[str]], dict[str, re.Pattern[str]]]:
    topics = {name: _pattern(words) for name, words in one.topics.items() if words}
    return topics, {name: _pattern(pair[0]) for name, pair in one.both.items()}


def _pattern(words: Iterable[str], *, plain: bool = False) -> re.Pattern[str]:
    """A pattern of whole words, with their accents and, unless `plain`, without them."""
    spelt = {word.casefold() for word in words}
    spelt |= set() if plain else {_without_accents(word) for word in spelt}
    return re.compile(
        rf"(?<![^\W_])(?:{'|'.join(sorted(map(_entry, spelt), key=len, reverse=True))})(?![^\W_])"
    )


def _without_accents(text: str) -> str:
    """Text without accents, strokes and circles; ñ, ё and й, which are letters of their own, keep theirs."""
    if text.isascii():
        return text
    apart = (c if c in _LETTERS_OF_THEIR_OWN else unicodedata.normalize("NFD", c) for c in text)
    return "".join(
        c for c in "".join(apart) if c in _LETTERS_OF_THEIR_OWN or unicodedata.category(c) not in ("Mn", "Me")
    )


def _entry(word: str) -> str:
    stem, any_end = word.removesuffix("*").replace("_", " "), word.endswith("*")
    text = r"[\W_]+".join(map(re.escape, stem.split()))
    return text + (r"[^\W_]*" if any_end else "s?" if stem[-1:].isascii() else "")


def _words(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _ENTRIES:
        raise MultigenError(f"{where}: give a list of up to {_ENTRIES:,} words")
    for word in value:
        if not isinstance(word, str) or not word.strip("* ") or len(word) > _LETTERS:
            raise MultigenError(
                f"{where}: {word!r} is not allowed. Allowed: words, of up to {_LETTERS} characters."
            )
    return tuple(" ".join(word.split()) for word in value)


def _pair(value: Any, topics: Mapping[str, object], where: str) -> tuple[tuple[str, ...], str]:
    if not isinstance(value, list) or len(value) != 2:
        raise MultigenError(f"{where}: give a list of words, and a topic")
    if value[1] not in topics:
        raise MultigenError(message(where, value[1], topics))
    return _words(value[0], where), value[1]


def _mapping(data: Mapping[str, Any], key: str, where: str) -> list[tuple[str, Any]]:
    value = data.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise MultigenError(f"{where}: {key}: give a mapping of topics")
    return list(value.items())


def _folder() -> Any:
    return resources.files("multigen.prompts").joinpath("lists")
