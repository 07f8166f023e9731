"""Limits on JSON before it is parsed: depth, how many values, and numbers that JSON does not have. Then its grammar."""

from __future__ import annotations

import json
import re
from typing import Any

# What stands outside strings: a quote that begins one, a bracket, a comma, or what Python's parser takes for a number
# although JSON has no such.
_TOKEN = re.compile(rb'["\[\]{},]|NaN|Infinity|-?[0-9]{400,}')
_DIGITS, _PIECE = 400, 1 << 16

VALUES = 20_000  # in one text: parsing more would hold all others up
ESCAPES = 200_000  # in one text, for the same reason; base64 of 12 MB has so many where slashes are escaped


def fault(text: bytes, depth: int) -> str | None:
    """What is wrong with a JSON text; None if nothing of it is."""
    return _over(text, depth) or _not_json(text)


def _not_json(text: bytes) -> str | None:
    """What is wrong with the grammar. A member that comes twice is, too: readers differ in which of them counts."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{twice[:60]!r} comes twice")
        return found

    try:
        json.loads(text, object_pairs_hook=members)
    except UnicodeDecodeError:
        return "the body is not JSON: it is no UTF-8 text"
    except (ValueError, RecursionError) as error:
        return f"the body is not JSON: {error}"
    return None


def _over(text: bytes, depth: int) -> str | None:
    """What is over a limit; the grammar is not looked at."""
    if text.count(b"\\") > ESCAPES:
        return f"the body holds more than {ESCAPES:,} backslashes"
    level = values = at = 0
    while match := _next(text, at):
        first, at = text[match.start()], match.end()
        if first in b'"':
            at = _after_string(text, at)
            continue
        values += 1
        if values > VALUES:
            return f"the body holds more than {VALUES:,} values"
        if first in b"[{":
            level += 1
            if level > depth:
                return f"the body is nested more than {depth} deep"
        elif first in b"]}":
            level -= 1
        elif first in b",":
            pass
        elif first in b"NI":
            return "the body is not JSON: NaN and Infinity are no numbers of it"
        else:
            return "the body has a number of 400 digits or more"
    return None


def _next(text: bytes, at: int) -> re.Match[bytes] | None:
    """The next token. Searched in pieces that share a number's length: no other thread waits for longer than one."""
    while at < len(text):
        match = _TOKEN.search(text, at, at + _PIECE)
        if match is not None:
            return match
        at += _PIECE if at + _PIECE >= len(text) else _PIECE - _DIGITS
    return None


def _after_string(text: bytes, at: int) -> int:
    """Where the string that begins at `at` is over. Found, not matched: that holds no other thread up."""
    quote = text.find(b'"', at)
    while quote >= 0:
        escape = text.find(b"\\", at, quote)
        if escape < 0:
            return quote + 1
        at = escape + 2
        if at > quote:
            quote = text.find(b'"', at)
    return len(text)
