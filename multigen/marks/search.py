"""The search for a mark in coefficients: over places, over payloads, with the p-value that pays for all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from multigen.marks.chips import Chips, decoded, log_tail

THRESHOLD = 1e-6  # p-values up to which a mark counts as found
_ZERO = 0.5  # share of the threshold that is spent on payload 0, which marks have where nobody says otherwise


@dataclass(frozen=True)
class Found:
    """What a detector says of one medium.

    log_p    natural logarithm of the p-value
    payload  the number that the mark carries, where it was found; None: nothing was found
    score    of the best guess, in standard deviations of a wrong key's
    """

    log_p: float = 0.0
    payload: int | None = None
    score: float = 0.0

    @property
    def p_value(self) -> float:
        """How likely a medium that this key never marked looks at least so marked, all that was tried counted."""
        return max(math.exp(self.log_p), 1e-300)

    @property
    def found(self) -> bool:
        """Whether there is a mark: its p-value is at most one in a million."""
        return self.p_value <= THRESHOLD


def search(places: Iterable[Tensor], chips: Chips, bits: int, looked: float) -> Found:
    """The best of some places' coefficients [n]; `looked`: their number, over their share of the threshold."""
    best = Found()
    for seen in places:
        norm = float(seen.norm())
        if not norm:
            continue
        terms = seen * chips.signs / norm
        payload, largest = decoded(terms, chips, bits)
        zero = float(terms.sum())
        best = better(best, Found(log_tail(zero, looked / _ZERO), 0, zero))
        best = better(best, Found(log_tail(largest, looked * 2.0**bits / (1 - _ZERO)), payload, largest))
    return best


def better(one: Found, other: Found) -> Found:
    """That of the smaller p-value."""
    return other if (other.log_p, -other.score) < (one.log_p, -one.score) else one


def judged(found: Found) -> Found:
    """With a payload only where the mark is found."""
    return found if found.found else replace(found, payload=None)
