"""Blends: media on the way from one request to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from multigen.cascades.embedding import Embedding
from multigen.errors import MultigenError
from multigen.generation.asked_texts import asked_texts
from multigen.generation.batching import Batcher, OnProgress
from multigen.generation.counts import check_counts
from multigen.generation.declared import Opener
from multigen.generation.parts import ModelParts, check_prompt
from multigen.generation.plan import Blend, Job, plan
from multigen.generation.request import Request
from multigen.generation.sizes import with_extent
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
    differ by prompt and seed alone, and where a model draws the embedding of a picture, by that: it goes along an arc,
    too. Where prompts say how large their media are, all have the size of the first. MultigenError where they differ by
    more, and for fewer than 2 media.
    """
    first, last = (Request(end) if isinstance(end, str) else end for end in ends)
    common = dataclasses.replace(first, prompt="", seed=None)
    beyond = dataclasses.replace(last, prompt="", seed=None)
    if common.differs(beyond) and not _pictures_alone(parts, common, beyond):
        raise MultigenError("blend: its ends may differ by prompt and seed alone")
    if n < 2:
        raise MultigenError(f"n: {n} is not allowed; a blend has 2 ends and more between them")
    seeds = [parts.recipe.seed if end.seed is None else end.seed for end in (first, last)]
    for end, seed in zip((first, last), seeds, strict=True):
        check_counts(parts, n=n, seed=seed)
        check_prompt(parts, end.prompt)
    opener = Opener(parts)
    sized = with_extent(parts, first, opener)
    size = {"size": sized.size, "duration": sized.duration, "sliding_window": sized.sliding_window}
    whole, end = (plan(parts, dataclasses.replace(one, **size), opener=opener) for one in (common, beyond))
    parts.guard.check_prompt(text for one in (first, last) for text in asked_texts(one, whole))
    blends = [Blend(last.prompt, seeds[1], k / (n - 1)) for k in range(n)]
    planned = [Job(first.prompt, seeds[0], whole.blended(one, end)) for one in blends]
    between = f"{first.prompt} to {last.prompt}"
    names = [first.prompt, *[between] * (n - 2), last.prompt]
    shown = [seeds[0]] * (n - 1) + [seeds[1]]
    return Blended(Batcher(parts, planned, batch, on_progress), list(zip(names, shown, strict=True)))


def _pictures_alone(parts: ModelParts, one: Request, other: Request) -> bool:
    """Whether two requests differ by pictures whose embeddings are drawn, and by nothing else."""
    stage: ModelParts | None = parts
    while stage is not None and not isinstance(stage.cascade, Embedding):
        stage = stage.former if stage.cascade is not None and not stage.recipe.adapters else None
    same = not one.differs(dataclasses.replace(other, images=one.images))
    return stage is not None and same and len(one.images) == len(other.images)


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
