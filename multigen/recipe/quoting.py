"""Quotes round the words of an override that Hydra's grammar reads only with quotes: `name=größe`, `[it's red]`.

Outside quotes the grammar knows ASCII letters, digits and a few signs. What a value means is not changed: words that it
reads stay as they are, and so do its lists, mappings and functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# What the grammar reads without quotes: letters, signs, spaces, escaped signs, references.
_READ = re.compile(r"(?:[\w \t/\-+.$%*@?|:]|\\[\w\\()\[\]{}:=, \t]|\$\{[^}]*\})*", re.ASCII)
_QUOTED = re.compile(r"""(["'])(?:\\.|(?!\1).)*\1(?=[ \t]*(?:[],})]|$))""", re.DOTALL)
_ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")
_FUNCTION = re.compile(
    r"(?:bool|choice|extend_list|float|glob|int|interval|json_str|range|shuffle|sort|str|tag)[ \t]*"
)
_ONE = re.compile(r"\\.|\$\{[^}]*\}|.", re.DOTALL)
_OPEN = {")": "(", "]": "[", "}": "{"}


def quoted_words(text: str) -> str:
    """An override with each word in quotes that Hydra's grammar does not read without them."""
    key, sign, value = text.partition("=")
    if not sign or _READ.fullmatch(value):
        return text
    return f"{key}={''.join(_pieces(value))}"


def _pieces(value: str) -> Iterator[str]:
    """The value in pieces: signs of structure, quoted texts, and words, quoted where they must be."""
    place, within = 0, ""  # the brackets that are open
    key = False  # whether the next word is a key of a mapping
    while place < len(value):
        sign = value[place]
        if match := _QUOTED.match(value, place):
            yield match[0]
            place = match.end()
            continue
        if sign in " \t," or (sign == ":" and key) or (sign == "=" and within.endswith("(")):
            key = within.endswith("{") if sign == "," else key and sign != ":"
        elif sign in "([{":
            within, key = within + sign, sign == "{"
        elif sign in _OPEN and within.endswith(_OPEN[sign]):
            within = within[:-1]
        else:
            word = _word(value, place, within, key)
            yield _quoted(word, key)
            place += len(word)
            continue
        yield sign
        place += 1


def _word(value: str, start: int, within: str, key: bool) -> str:
    """The word that begins at `start`: up to a sign of structure that may follow it there."""
    ends = {","} | ({":"} if key else set()) | {close for close, opens in _OPEN.items() if opens in within}
    ends |= {"="} if within.endswith("(") else set()
    end = start
    while end < len(value):
        sign = _ONE.match(value, end)
        assert sign is not None
        if sign[0] in ends or (sign[0] == "(" and _FUNCTION.fullmatch(value, start, end)):
            break
        end = sign.end()
    return value[start:end]


def _quoted(word: str, key: bool) -> str:
    """A word, in quotes if it needs them. Keys cannot be quoted."""
    from hydra.core.override_parser.types import Quote, QuotedString

    bare = word.rstrip(" \t")
    if key or _READ.fullmatch(bare):
        return word
    text = QuotedString(_ESCAPED.sub(r"\1", bare), Quote.single).with_quotes()
    return text + word[len(bare) :]
