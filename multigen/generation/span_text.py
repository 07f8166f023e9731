"""Spans of time and amounts as text: what is wrong with them is said without a model or a medium."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from multigen.errors import MultigenError

_SPAN = re.compile(r"(?P<a>\d*\.?\d*)(?P<au>s|f)?:(?P<b>\d*\.?\d*)(?P<bu>s|f)?")
_AMOUNT = re.compile(r"(\d+\.?\d*)(s|f|px)?")


class SpanText(NamedTuple):
    """One span as it is written: its ends (None: the medium's) in seconds ("s") or samples and frames ("f")."""

    text: str
    start: float | None
    end: float | None
    unit: Literal["s", "f"]


def parse_spans(text: str) -> list[SpanText]:
    """Spans such as "0:2.5s,4s:"; MultigenError for anything else, and for one that ends before it starts."""
    found = []
    for part in text.split(","):
        match = _SPAN.fullmatch(part.strip())
        numbers = [] if match is None else [n for n in (match["a"], match["b"]) if n]
        if match is None or not numbers or "." in numbers:
            raise MultigenError(f"keep {text}: {part!r} is no span; give FROM:TO such as 0:2.5s or 0:4f")
        units = {match["au"], match["bu"]} - {None}
        if len(units) > 1:
            raise MultigenError(f"keep {text}: {part.strip()} has two units; give both ends in s, or in f")
        start, end = (float(match[k]) if match[k] else None for k in ("a", "b"))
        if end is not None and (start or 0.0) >= end:
            raise MultigenError(f"keep {text}: {part.strip()} ends before it starts; give FROM:TO")
        unit: Literal["s", "f"] = "f" if units == {"f"} else "s"
        found.append(SpanText(part.strip(), start, end, unit))
    return found


def check_amounts(text: str) -> None:
    """MultigenError for amounts to grow by that fit no medium, such as "-8" or "1,2,3"."""
    parts = [_AMOUNT.fullmatch(p.strip()) for p in text.split(",")]
    if None in parts or len(parts) not in (1, 2, 4):
        allowed = "8 or 8,0,8,0 pixels (left, top, right, bottom), 3s, or 1s,3s (before, after)"
        raise MultigenError(f"extend {text}: is not allowed; give {allowed}")
