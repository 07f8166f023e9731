"""What was found out about a finished medium, as it travels with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Flag:
    """A filter's finding: the filter, what it is, how sure the filter is (0 to 1), and what was done."""

    filter: str
    label: str
    score: float
    action: Literal["block", "blur", "flag"]


def flagged(flags: Sequence[Flag]) -> dict[str, Any]:
    """The findings under the key `safety`, for a manifest or an answer; empty where there are none."""
    return {"safety": [asdict(flag) for flag in flags]} if flags else {}


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
