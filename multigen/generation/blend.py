"""Blends: media on the way from one request to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from multigen.errors import MultigenError
from multigen.generation.batching import Batcher, OnProgress
from multigen.generation.parts import ModelParts, check_prompt
from multigen.generation.plan import Blend, Job, check_counts, plan
from multigen.generation.request import Request
from multigen.modalities.media import Media


def blend(
    parts: ModelParts,
    ends: tuple[Request | str, Request | str],
    *,
    n: int,
    batch: int,
    on_progress: OnProgress | None = None,
) -> Blended:
    """A batcher of `n` media from the first end to the second, both among them; each end is what it is alone.

    The noise goes along an arc, which keeps its variance; the predictions for the two prompts are mixed. The ends
    differ by prompt and seed alone. MultigenError where they differ by more, and for fewer than 2 media.
    """
    first, last = (Request(end) if isinstance(end, str) else end for end in ends)
    common = dataclasses.replace(first, prompt="", seed=None)
    if common.differs(dataclasses.replace(last, prompt="", seed=None)):
        raise MultigenError("blend: its ends may differ by prompt and seed alone")
    if n < 2:
        raise MultigenError(f"n: {n} is not allowed; a blend has 2 ends and more between them")
    seeds = [parts.recipe.seed if end.seed is None else end.seed for end in (first, last)]
    for end, seed in zip((first, last), seeds, strict=True):
        check_counts(parts, n=n, seed=seed)
        check_prompt(parts, end.prompt)
    whole = plan(parts, common)
    blends = [Blend(last.prompt, seeds[1], k / (n - 1)) for k in range(n)]
    planned = [Job(first.prompt, seeds[0], whole.blended(one)) for one in blends]
    between = f"{first.prompt} to {last.prompt}"
    names = [first.prompt, *[between] * (n - 2), last.prompt]
    shown = [seeds[0]] * (n - 1) + [seeds[1]]
    return Blended(Batcher(parts, planned, batch, on_progress), list(zip(names, shown, strict=True)))


class Blended(NamedTuple):
    """A batcher of a blend, and the prompt and the seed under which each medium is shown."""

    batcher: Batcher
    names: list[tuple[str, int]]

    def in_order(self) -> Iterator[Media]:
        """The media from the first end to the last, under their names."""
        return (self.shown(place, medium) for place, medium in enumerate(self.batcher.in_order()))

    def shown(self, place: int, medium: Media) -> Media:
        """The medium at a place, under its name."""
        prompt, seed = self.names[place]
        return dataclasses.replace(medium, prompt=prompt, seed=seed)
