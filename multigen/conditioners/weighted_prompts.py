"""Weighted prompts: `a (red:1.3) apple` says red 1.3 times as strongly.

A weight applies to all between its brackets; weights inside others multiply. Brackets without a weight are text, and so
are brackets after a backslash.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from multigen.errors import MultigenError

LIMITS = (0.0, 10.0)  # of a weight
_TOKEN = re.compile(r"\\[()]|\(|:\s*[+-]?\d*\.?\d+\s*\)|\)|[^\\():]+|.", re.DOTALL)
_WEIGHT = re.compile(r":\s*([+-]?\d*\.?\d+)\s*\)")


class Span(NamedTuple):
    """Text of a prompt and its weight."""

    text: str
    weight: float


def spans(prompt: str) -> list[Span]:
    """Split a prompt into spans of one weight each; one span of weight 1 where none is given.

    >>> spans("a (red:1.3) apple (small)")
    [Span(text='a ', weight=1.0), Span(text='red', weight=1.3), Span(text=' apple (small)', weight=1.0)]

    MultigenError for a weight outside 0 to 10.
    """
    out: list[Span] = []
    open_at: list[int] = []  # where in `out` the text of an open bracket begins
    for token in _TOKEN.findall(prompt):
        weight = _WEIGHT.fullmatch(token)
        if token in (r"\(", r"\)"):
            out.append(Span(token[1], 1.0))
        elif token == "(":
            open_at.append(len(out))
            out.append(Span("(", 1.0))
        elif weight and open_at:
            start, factor = open_at.pop(), _checked(float(weight[1]), prompt)
            inside = [Span(text, w * factor) for text, w in out[start + 1 :]]
            out[start:] = inside
        else:
            if token == ")" and open_at:
                open_at.pop()
            out.append(Span(token, 1.0))
    return _merged(out) or [Span("", 1.0)]


def plain(prompt: str) -> str:
    """Return a prompt without its weights.

    >>> plain("a (red:1.3) apple")
    'a red apple'
    """
    return "".join(span.text for span in spans(prompt))


def _checked(weight: float, prompt: str) -> float:
    low, high = LIMITS
    if not low <= weight <= high:
        raise MultigenError(
            f"prompt: {prompt!r}: the weight {weight:g} is not allowed. Allowed: {low:g} to {high:g}."
        )
    return weight


def _merged(found: list[Span]) -> list[Span]:
    """Neighbours of equal weight as one."""
    out: list[Span] = []
    for span in found:
        if out and out[-1].weight == span.weight:
            out[-1] = Span(out[-1].text + span.text, span.weight)
        elif span.text:
            out.append(span)
    return out
