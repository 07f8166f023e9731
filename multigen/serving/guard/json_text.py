"""Limits on JSON before it is parsed: depth, how many values, and numbers that JSON does not have."""

from __future__ import annotations

import re

# A whole string, a bracket, a comma, or what Python's parser takes for a number although JSON has no such. Possessive:
# no string costs more than its length.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]|NaN|Infinity|-?[0-9]{400,}', re.DOTALL)


VALUES = 20_000  # in one text: parsing more would hold all others up


def fault(text: bytes, depth: int) -> str | None:
    """What is wrong with a JSON text; None if nothing of it is: its grammar is not checked."""
    level = values = 0
    for match in _TOKEN.finditer(text):
        first = text[match.start()]
        if first in b'"':
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
