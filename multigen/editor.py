"""Editor: media made from other media, on top of what a maker does: edits, restorations, blends, traces."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from multigen import registry
from multigen.core.drive import Progress
from multigen.editing import prepared, seam_of, spliced
from multigen.errors import MultigenError
from multigen.making import Maker
from multigen.media import Media
from multigen.operators import Operator
from multigen.registry import Part
from multigen.sampling import Blend, Edit, Known
from multigen.trace import Trace


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
        source = prepared(self.read(media), keep, extend)
        width = seam_of(self.modality) if seam is None else seam
        if resample < 1 or width < 0:
            raise MultigenError(
                f"resample, seam: {resample}, {width} is not allowed; give 1 or more, 0 or more"
            )
        strength = (0.6 if source.keep is None else 1.0) if strength is None else strength
        if not 0 < strength <= 1:
            raise MultigenError(f"strength: {strength} is not allowed; give a number over 0, to 1")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        self._check_all([*prompts, *([] if invert is None else [invert])], n, seed, batch)
        shape = tuple(source.media.shape)
        window = self._window(shape, long)
        try:
            ask = self._ask(self.codec.shape(shape), steps, scale, negative, window=window, wrap=wrap)
        except ValueError as error:
            raise MultigenError(f"the medium: {error}") from error
        with torch.no_grad():
            x0 = self.codec.encode(source.media[None].to(self.device))
        known = None if source.keep is None else self.codec.keeps(source.keep)
        edit = Edit(x0, known, strength, resample, invert)
        made = self._stream(prompt, n, seed, batch, dataclasses.replace(ask, edit=edit), watch)
        return [dataclasses.replace(m, tensor=spliced(m.tensor, source, width)) for m in made]

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
        if not (noise >= 0 and math.isfinite(noise)):
            raise MultigenError(f"noise: {noise} is not allowed; give a number, 0 or more")
        given = {"modality": self.modality, "codec": self.codec}
        self._check_all([prompt] if isinstance(prompt, str) else list(prompt), n, seed, batch)
        made: Operator = registry.build("operator", operator, where="operator", given=given)
        medium = self.read(media)
        try:
            whole = made.whole(tuple(medium.shape))
            if self._window(whole, long=True) is not None:
                raise MultigenError(
                    f"the medium: {list(whole[1:])} when restored is larger than the model's own; cut it into parts"
                )
            ask = self._ask(self.codec.shape(whole), steps, scale, negative)
        except ValueError as error:
            raise MultigenError(f"the medium: {error}") from error
        with torch.no_grad():
            values = made.measured(medium[None].to(self.device))
            there = tuple(made(torch.zeros(1, *ask.shape, device=self.device)).shape)
        if there[1:] != tuple(values.shape[1:]):
            raise MultigenError(
                f"the medium: {list(values.shape[1:])} is known of it; {operator.name} gives {list(there[1:])}"
            )
        ask = dataclasses.replace(ask, known=Known(made, values, noise))
        return list(self._stream(prompt, n, seed, batch, ask, watch))

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
        ask = self._ask(self._shape(None, None), steps, scale, negative)
        out: list[Media] = []
        for k in range(n):
            blend = Blend(prompts[1], last, k / (n - 1))
            out += self._batch([(prompts[0], first)], dataclasses.replace(ask, blend=blend), watch)
        names = [prompts[0], *[f"{prompts[0]} to {prompts[1]}"] * (n - 2), prompts[1]]
        ends = [first] * (n - 1) + [last]
        return [dataclasses.replace(m, prompt=p, seed=s) for m, p, s in zip(out, names, ends, strict=True)]

    def trace(
        self,
        prompt: str = "",
        *,
        seed: int | None = None,
        steps: int | None = None,
        scale: float | None = None,
        negative: str | None = None,
    ) -> Trace:
        """One medium and how it came about: see `multigen.trace.Trace`. The medium is the one that `generate` gives."""
        seed = self.recipe.seed if seed is None else seed
        self._check([prompt], 1, seed, None)
        trace = Trace()
        ask = dataclasses.replace(self._ask(self._shape(None, None), steps, scale, negative), note=trace.note)
        (trace.medium,) = self._batch([(prompt, seed)], ask, None)
        return trace
