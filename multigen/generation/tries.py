"""Media that lie too near to a training item are made again: what a guard against copies knows, and who tries again."""

from __future__ import annotations

import dataclasses
import hashlib

from multigen.generation.nearness import Nearness
from multigen.generation.plan import Job
from multigen.modalities.flag import Near
from multigen.modalities.media import Media

_SEEDS = 2**62


def seed_of(seed: int, attempt: int) -> int:
    """The seed of a try: the medium's own for try 0, and then keyed by (seed, try)."""
    if attempt == 0:
        return seed
    digest = hashlib.blake2b(f"{seed} novelty {attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SEEDS


class Tries:
    """Which media are made again. One that is too near at every try stays as the farthest of them."""

    def __init__(self, nearness: Nearness) -> None:
        self._nearness = nearness
        self._best: dict[int, Media] = {}

    def seen(self, place: int, job: Job, medium: Media) -> Media | Job:
        """The medium that is handed out, under the seed that was asked for, or the job of another try."""
        known = self._nearness
        plan = job.plan
        if any(one is not None for one in (plan.edit, plan.blend, plan.observer, plan.swap)):
            return medium  # it is to be near to its source, lies between others, or is looked at as it comes about
        item, distance = known.nearest(medium)
        near = Near(item, distance, known.limit, job.attempt, medium.seed)
        asked = dataclasses.replace(medium, seed=job.seed, near=near)
        best = self._best.pop(place, asked)
        assert best.near is not None
        best = asked if distance >= best.near.distance else best
        if distance >= known.limit or job.attempt >= known.tries:
            assert best.near is not None
            return dataclasses.replace(best, near=dataclasses.replace(best.near, tries=job.attempt))
        self._best[place] = best
        return job._replace(attempt=job.attempt + 1)

    def forget(self, place: int) -> None:
        """Keep nothing of a place."""
        self._best.pop(place, None)
