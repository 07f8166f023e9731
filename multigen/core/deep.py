"""Deep features: what the inner layers of a network made, for later calls that run its outer layers alone.

From one step of a trajectory to the next the inner layers change little (DeepCache: Ma et al. 2023,
arXiv:2312.00858, section 3.2). A full call keeps what they made; a shallow call of the same trajectory takes it.
Whoever makes the calls holds it: a module keeps nothing between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

# What the inner layers made, [B, ...] each.
Features: TypeAlias = tuple[Tensor, ...]


class Deep:
    """What one network call keeps of the inner layers, or takes in their place.

    outer  how many of the outer stages run in a shallow call; of a full one, for which numbers it keeps
    made   of a shallow call: what the inner layers made earlier; None: the call is a full one
    kept   of a full call: what they make now, by the number of outer stages
    """

    def __init__(self, outer: Sequence[int], made: Features | None = None) -> None:
        self.outer, self.made = tuple(outer), made
        self.kept: dict[int, Features] = {}


class Reuse(NamedTuple):
    """What one call of a guide shares with others of its trajectory. Full calls merge, shallow ones with their like.

    outer  how many of the backbone's outer stages a shallow call runs, 1 to `Backbone.outermost`
    made   what the inner layers made earlier, for a shallow call; None: all layers run
    keep   gets what the inner layers of a full call make, in order where the call is cut in pieces
    """

    outer: int
    made: Features | None
    keep: Callable[[Features], None]
