"""How many replicas a model has: as many as its media, waiting and under way, fill."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from multigen.errors import MultigenError

METRIC = "media"  # what replicas tell: media that wait and are under way, those of jobs among them


@dataclass(frozen=True)
class Replicas:
    """The least and the most replicas of each model."""

    low: int = 1
    high: int = 1

    @classmethod
    def of(cls, text: str) -> Replicas:
        """From "2" or "1-4". MultigenError for anything else."""
        found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text)
        low = int(found[1]) if found else 0
        high = int(found[2] or low) if found else 0
        if not 1 <= low <= high:
            raise MultigenError(
                f"--replicas: {text!r} is not allowed; give a number such as 2, or a range: 1-4"
            )
        return cls(low, high)


def wanted(media: Mapping[str, float], requests: float, batch: int) -> float:
    """How many replicas fill their batches.

    media     that each replica has
    requests  that Ray counts, those that wait for a replica among them; a job is over for it as soon as it is accepted
    batch     media that share a network call
    """
    return max(sum(media.values()), requests) / batch
