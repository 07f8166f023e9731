"""Spans of time and amounts to grow by, as a user writes them."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.span_text import parse_spans


def spans(text: str, length: int, rate: float, unit: str = "s") -> Tensor:
    """Kept spans of a time axis, such as "0:2.5s", "1.5s:" or "0:4f,12f:16f": bool [length].

    s: seconds (also where no unit is given), at `rate` per second; f: samples or frames. An open end is the medium's.
    `unit` is what a message calls the seconds, where they are others, as of notes.
    MultigenError for anything else, and for spans outside the medium.
    """
    keep = torch.zeros(length, dtype=torch.bool)
    for span in parse_spans(text):
        scale = 1.0 if span.unit == "f" else rate
        a = 0 if span.start is None else round(span.start * scale)
        b = length if span.end is None else round(span.end * scale)
        if not 0 <= a < b <= length:
            raise MultigenError(
                f"keep {text}: {span.text} lies outside; the medium has {length / rate:.6g} {unit}"
                + (f" ({length} frames)" if rate < 1000 and unit == "s" else "")
            )
        keep[a:b] = True
    return keep


_AMOUNT = re.compile(r"(\d+\.?\d*)(s|f|px)?")


def amounts(text: str, axes: int, rate: float) -> list[int]:
    """How much a medium of so many `axes` grows, as numbers: before and after, from the last axis on.

    "8" or "8,0,8,0" pixels (left, top, right, bottom) of a picture; "3s" after, or "1s,3s" before and after, of what
    has a time, at `rate` per second. MultigenError for anything else.
    """
    parts = [_AMOUNT.fullmatch(p.strip()) for p in text.split(",")]
    allowed = (1, 4) if axes == 2 else (1, 2)
    units = {"px", None} if axes == 2 else {"s", "f", None}
    found = [p for p in parts if p is not None and p[2] in units]
    if len(found) != len(parts) or len(found) not in allowed:
        form = (
            "8 or 8,0,8,0 pixels (left, top, right, bottom)" if axes == 2 else "3s, or 1s,3s (before, after)"
        )
        raise MultigenError(f"extend {text}: is not allowed; give {form}")
    if axes == 2:
        sizes = [round(float(p[1])) for p in found] * (4 if len(found) == 1 else 1)
        left, top, right, bottom = sizes
        return [left, right, top, bottom]
    sizes = [round(float(p[1]) * (1.0 if p[2] == "f" else rate)) for p in found]
    before, after = sizes if len(sizes) == 2 else (0, sizes[0])
    return [0, 0] * (axes - 1) + [before, after]
