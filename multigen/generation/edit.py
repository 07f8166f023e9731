"""Editor: media made from other media, on top of what a maker does: edits, restorations, blends, traces."""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from multigen.core.sampling import Progress
from multigen.errors import MultigenError
from multigen.generation.batching import Many
from multigen.generation.edit_request import Change, Restoration
from multigen.generation.generate import Maker
from multigen.generation.request import Blend, Wish
from multigen.generation.trace import Trace
from multigen.modalities.media import Media
from multigen.registry import Part


class Editor(Maker, ABC):
    """A maker that begins with more than noise."""

    def edit(
        self,
        media: Media | Tensor | str | Path,
        prompt: str | Sequence[str] = "",
        *,
        strength: float | None = None,
        keep: Tensor | None = None,
        extend: Sequence[int] = (),
        seam: int | None = None,
        resample: int = 1,
        invert: str | None = None,
        long: bool = False,
        wrap: bool = False,
        n: int = 1,
        seed: int | None = None,
        steps: int | None = None,
        scale: float | None = None,
        negative: str | None = None,
        batch: int | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> list[Media]:
        """`n` versions of a medium for each prompt: varied, filled, grown or restyled.

        media     a medium, a tensor [C, *D] in [-1, 1], or a file
        strength  how far back to noise, over 0 to 1: 0.6, or 1 where a part is kept
        keep      bool, True where the medium stays: [*D], or over its first axis alone (samples, frames)
        extend    what is added before and after each axis, from the last one on (as torch's `pad`)
        seam      width in which what is kept fades into what is made, in samples, pixels or frames; beyond it the
                  result is the source itself. Default: 50 ms, 2 pixels, no frames
        resample  times that each step is taken, so that new and kept agree better (RePaint)
        invert    this prompt's noise for the source, in place of a random one: a restyling that keeps the composition
        long      media larger than the model's own, in overlapping windows; `wrap`: the last axis is a circle

        The rest as in `generate`. MultigenError for what does not fit, before any network call.
        """
        change = Change(media, strength, keep, extend, seam, resample, invert)
        how = Wish(steps=steps, scale=scale, negative=negative, long=long, wrap=wrap, edit=change)
        return self._begun(how, prompt, n, seed, batch, watch)

    def restore(
        self,
        media: Media | Tensor | str | Path,
        prompt: str | Sequence[str] = "",
        *,
        operator: Part,
        noise: float = 0.02,
        n: int = 1,
        seed: int | None = None,
        steps: int | None = None,
        scale: float | None = None,
        negative: str | None = None,
        batch: int | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> list[Media]:
        """`n` media of which the operator gives what is there: a small picture, a blurred one, every other frame.

        `operator` such as Part("downsample", {"factor": 2}); `noise` is the deviation of what is there, of full scale.
        The rest as in `generate`. MultigenError for what does not fit, before any network call.
        """
        how = Wish(steps=steps, scale=scale, negative=negative, edit=Restoration(media, operator, noise))
        return self._begun(how, prompt, n, seed, batch, watch)

    def _begun(
        self,
        how: Wish,
        prompt: str | Sequence[str],
        n: int,
        seed: int | None,
        batch: int | None,
        watch: Callable[[Progress], None] | None,
    ) -> list[Media]:
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        # First, for a medium takes longer to read.
        self._check(prompts, n, self.recipe.seed if seed is None else seed, batch)
        return list(self._stream(prompts, n, seed, batch, self.ask(how), watch))

    def blend(
        self,
        prompts: tuple[str, str],
        *,
        seeds: tuple[int, int] | None = None,
        n: int = 8,
        steps: int | None = None,
        scale: float | None = None,
        negative: str | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> list[Media]:
        """`n` media on the way from one prompt and seed to another, both ends among them.

        The noise goes along an arc, which keeps it as loud; what the network says of the two prompts is mixed. The
        ends are what `generate` gives of them. Default seeds: the recipe's for both.
        """
        first, last = (self.recipe.seed,) * 2 if seeds is None else seeds
        if n < 2:
            raise MultigenError(f"n: {n} is not allowed; a blend has 2 ends and more between them")
        for seed in (first, last):
            self._check(prompts, n, seed, None)
        ask = self.ask(Wish(steps=steps, scale=scale, negative=negative))
        blends = [Blend(prompts[1], last, k / (n - 1)) for k in range(n)]
        asked = [((prompts[0], first), dataclasses.replace(ask, blend=blend)) for blend in blends]
        made = dict(Many(self, asked, self.recipe.sample.batch, watch))
        names = [prompts[0], *[f"{prompts[0]} to {prompts[1]}"] * (n - 2), prompts[1]]
        ends = [first] * (n - 1) + [last]
        return [dataclasses.replace(made[k], prompt=names[k], seed=ends[k]) for k in range(n)]

    def trace(
        self,
        prompt: str = "",
        *,
        seed: int | None = None,
        steps: int | None = None,
        scale: float | None = None,
        negative: str | None = None,
    ) -> Trace:
        """One medium and how it came about (`multigen.generation.trace.Trace`), the one that `generate` gives."""
        seed = self.recipe.seed if seed is None else seed
        self._check([prompt], 1, seed, None)
        trace = Trace()
        ask = self.ask(Wish(steps=steps, scale=scale, negative=negative))
        ask = dataclasses.replace(ask, note=trace.note)
        (trace.medium,) = self._batch([(prompt, seed)], ask, None)
        return trace
