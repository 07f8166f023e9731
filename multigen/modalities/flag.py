"""What filters found in a medium, as it travels with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Flag:
    """A finding: the filter, what it is, how sure the filter is (0 to 1), and what was done."""

    filter: str
    label: str
    score: float
    action: Literal["block", "blur", "flag"]
