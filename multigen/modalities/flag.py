"""What was found out about a finished medium, as it travels with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Flag:
    """A filter's finding: the filter, what it is, how sure the filter is (0 to 1), and what was done."""

    filter: str
    label: str
    score: float
    action: Literal["block", "blur", "flag"]


@dataclass(frozen=True)
class Near:
    """How near a medium is to the training item that is nearest.

    limit  the distance below which it is too near
    tries  how often it was made again
    seed   that it was made from; that of the medium is the one that was asked for
    """

    item: str
    distance: float
    limit: float
    tries: int
    seed: int
