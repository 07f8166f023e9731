"""Taps: what a call asks of the inside of a backbone: attention undone, passed by, or shown."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class Maps:
    """Where a backbone puts its attention to a condition's tokens: one map [B, L, *D] a block, heads averaged."""

    def __init__(self) -> None:
        self.found: dict[int, Tensor] = {}


class Taps(NamedTuple):
    """What one call asks, by the numbers of a backbone's attention blocks, counted from its input.

    undone   self-attention that looks at nothing but its own place (its map is the identity)
    skipped  attention blocks that are passed by
    maps     where attention to the tokens is kept; such a call merges with no other
    """

    undone: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    maps: Maps | None = None


@runtime_checkable
class Tapped(Protocol):
    """A backbone that answers taps, given to it as `taps=`."""

    attentions: int  # how many attention blocks it has
    deepest: int  # the number of the one in its middle


def checked(backbone: nn.Module, taps: Taps) -> None:
    """ValueError if the backbone has no such blocks."""
    count = backbone.attentions if isinstance(backbone, Tapped) else 0
    wrong = [n for n in (*taps.undone, *taps.skipped) if not 0 <= n < count]
    if not count:
        raise ValueError(
            "this backbone shows no attention: guides and pictures of attention need one that does"
        )
    if wrong:
        raise ValueError(
            f"layers: {wrong} is not allowed. Allowed: 0 to {count - 1}, the attention blocks there are."
        )
