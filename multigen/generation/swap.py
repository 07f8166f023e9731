"""A prompt that takes the place of another during a part of the way."""

from __future__ import annotations

from typing import NamedTuple


class Swap(NamedTuple):
    """Another prompt, in place of the medium's own at times in (low, high]."""

    prompt: str
    low: float
    high: float
