"""What a guard against copies of training items knows."""

from __future__ import annotations

from typing import Protocol

from multigen.modalities.media import Media


class Nearness(Protocol):
    """How near media are to training items, and what is too near.

    tries  how often a medium is made again at most
    """

    tries: int

    @property
    def limit(self) -> float:
        """The distance below which a medium is too near."""
        ...

    def nearest(self, medium: Media) -> tuple[str, float]:
        """The training item that is nearest, and its distance."""
        ...
