"""What each word of a prompt does: attention to it, and how far the answers move when it is left out.

Leaving out is asked of every model; attention only of those whose network attends to the words. Maps of attention are
summed over heads, blocks and steps (DAAM: Tang et al. 2022, arXiv:2210.04885, section 3), here by noise level.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.modifiers import Observed
from multigen.evaluation.metrics import Score
from multigen.generation.batching import Batcher
from multigen.generation.noise_levels import Interval, Sums, intervals, place
from multigen.generation.parts import words
from multigen.generation.plan import Job
from multigen.generation.prompt_words import Word, grouped
from multigen.modalities.media import Media
from multigen.model.model import Model


class Told(NamedTuple):
    """What was found of the words of a prompt; intervals of noise levels are the last axis of numbers, all come first.

    medium     of the first seed, of which the maps are
    words      the parts that were left out; `change` and `where` have them in this order
    change     root mean square change of the predicted clean medium, as a share of that of the medium: mean over seeds
    error      its standard error, [words][1 + intervals]
    where      mean square change at each place, [1 + intervals, words, T, H, W]
    tokens     the words that attention goes to; () where the network attends to none
    attention  shares of the attention of each place, [1 + intervals, L, T, H, W], L tokens
    """

    medium: Media
    levels: list[Interval]
    words: tuple[str, ...]
    change: list[list[float]]
    error: list[list[float]]
    where: Tensor
    tokens: list[Word]
    attention: Tensor | None


def tell_words(model: Model, jobs: list[Job], count: int) -> Told:
    """Walk each job once more and ask aside for its prompt without each word; the media stay what they are.

    jobs  one prompt with several seeds
    count of intervals of noise levels
    """
    prompt = jobs[0].prompt
    parts = model.conditioner.left_out(prompt)
    levels = intervals(model.denoiser.schedule, jobs[0].plan.ts, count)
    media, watches = [], []
    for job in jobs:
        watch = _Watch(levels, len(parts), attention=not watches)
        asides = tuple(without for _, without in parts)
        plan = dataclasses.replace(job.plan, observer=watch.seen, asides=asides)
        ((_, medium),) = Batcher(model, [job._replace(plan=plan)], 1)
        media.append(medium)
        watches.append(watch)
    changes = torch.stack([watch.changes() for watch in watches])  # [seeds, words, 1 + intervals]
    scores = [[Score.of(column.tolist()) for column in word.T] for word in changes.transpose(0, 1)]
    first, tokens = watches[0], words(model, prompt)
    where = first.where.means()
    assert where is not None
    attention = first.attention.means() if tokens else None
    return Told(
        medium=media[0],
        levels=levels,
        words=tuple(word for word, _ in parts),
        change=[[one.value for one in row] for row in scores],
        error=[[one.error for one in row] for row in scores],
        where=where,
        tokens=[] if attention is None else grouped(tokens),
        attention=attention,
    )


class _Watch:
    """Sums up one medium's way: how far x0 moves without each word, where, and attention."""

    def __init__(self, levels: list[Interval], words: int, *, attention: bool) -> None:
        self.levels = levels
        self.where, self.attention = Sums(len(levels)), Sums(len(levels))
        self._attends = attention
        self._moved = torch.zeros(len(levels), words, dtype=torch.float64)
        self._size = torch.zeros(len(levels), 1, dtype=torch.float64)

    def seen(self, one: Observed) -> None:
        """Add one answered query."""
        assert one.cond is not None
        level = place(self.levels, float(one.query.t))
        clean = one.cond[0].double()
        apart = torch.stack([(other[0].double() - clean).square().mean(0).cpu() for other in one.others])
        spread = apart.reshape(len(apart), *[1] * (4 - apart.ndim), *apart.shape[1:])  # [words, T, H, W]
        self.where.add(level, spread)
        self._moved[level] += apart.flatten(1).mean(1)
        self._size[level] += float(clean.square().mean())
        if self._attends and one.maps is not None:
            for maps in one.maps.found.values():
                self.attention.add(level, maps[0])

    def changes(self) -> Tensor:
        """[words, 1 + intervals]; NaN in an interval without a query."""
        moved = torch.cat([self._moved.sum(0, keepdim=True), self._moved])
        size = torch.cat([self._size.sum(0, keepdim=True), self._size])
        return torch.where(size > 0, moved / size, math.nan).sqrt().T
