"""Maker: what makes media with a model's parts: one request after another, or many at once."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.conditioners import Worded
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.drive import drive
from multigen.core.sampling import Progress, Sampling
from multigen.errors import MultigenError, refused
from multigen.generation.batching import Many
from multigen.generation.masking import check_size
from multigen.generation.request import Ask, Asked, Job, Start, Wish
from multigen.generation.trajectory import check_polish, exact, grid, guide_part, trajectories
from multigen.modalities import Modality
from multigen.modalities.media import Media
from multigen.model.compatibility import check_combination
from multigen.recipe.schema import Recipe


class Maker(ABC):
    """The parts that `multigen.model.model.Model` has, and all that generates with them."""

    recipe: Recipe
    device: torch.device
    modality: Modality
    codec: Codec
    conditioner: Any

    @property
    @abstractmethod
    def denoiser(self) -> Denoiser:
        """MultigenError if the recipe trains a codec and has none."""

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        *,
        n: int = 1,
        seed: int | None = None,
        steps: int | None = None,
        scale: float | None = None,
        negative: str | None = None,
        size: int | tuple[int, int] | None = None,
        duration: float | None = None,
        long: bool = False,
        wrap: bool = False,
        batch: int | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> list[Media]:
        """`n` media for each prompt, prompt after prompt; what is left out comes from the recipe.

        Medium k of all has the seed `seed + k`.

        `scale` is the guidance scale, `negative` what guidance leads away from; `size` in pixels, `duration` in
        seconds; with `long` what is larger than the model's own is made in overlapping windows, and with `wrap` its
        last axis is a circle (a panorama, a loop). `batch` bounds the samples of one network call before guidance.
        `watch` sees every answered query. A sample is the same whatever the batch.
        """
        return list(
            self.stream(
                prompt,
                n=n,
                seed=seed,
                steps=steps,
                scale=scale,
                negative=negative,
                size=size,
                duration=duration,
                long=long,
                wrap=wrap,
                batch=batch,
                watch=watch,
            )
        )

    def stream(
        self,
        prompt: str | Sequence[str] = "",
        *,
        n: int = 1,
        seed: int | None = None,
        steps: int | None = None,
        scale: float | None = None,
        negative: str | None = None,
        size: int | tuple[int, int] | None = None,
        duration: float | None = None,
        long: bool = False,
        wrap: bool = False,
        batch: int | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> Iterator[Media]:
        """As `generate`, each medium as soon as it is there. What is wrong with a request is said at once."""
        how = Wish(
            steps=steps, scale=scale, negative=negative, size=size, duration=duration, long=long, wrap=wrap
        )
        return self._stream(prompt, n, seed, batch, self.ask(how), watch)

    def many(
        self,
        wishes: Sequence[Wish | str],
        *,
        n: int = 1,
        seed: int | None = None,
        batch: int | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> Many:
        """Media of different steps, samplers, guides, sizes and edits side by side: (place, medium) as they end.

        A text is a `Wish` for that prompt. Each wish is made `n` times: its medium k has the place `n * i + k` and the
        seed `its own + k`, or `seed` (the recipe's) + place where it has none. `batch` of them are under way at a time;
        each joins as another leaves, and all that wait for the network at once share a call where their shapes agree.
        Each is what it is alone (to 1e-4 of full scale in fp32). With what is returned more may `add` themselves and
        any `cancel`. What is wrong with a wish is said before the first begins.
        """
        seed = self.recipe.seed if seed is None else seed
        found: list[Asked] = []
        last: tuple[Wish, Ask] | None = None
        for number, wish in enumerate(wishes):
            try:
                last, media = self.asked(wish, seed + number * n, n, last)
                found += media
            except MultigenError as error:
                where = f"request {number + 1}: " if len(wishes) > 1 else ""
                raise MultigenError(f"{where}{error}") from error
        return Many(self, found, self.recipe.sample.batch if batch is None else batch, watch)

    def asked(
        self, wish: Wish | str, seed: int, n: int = 1, last: tuple[Wish, Ask] | None = None
    ) -> tuple[tuple[Wish, Ask], list[Asked]]:
        """A wish's `n` media, whose seeds count on from its own, or from `seed` where it has none.

        Before them what they have in common. One that differs from the `last` by its prompt and seed alone has that in
        common with it too: the source of an edit is read and encoded once for all its prompts.
        """
        wish = Wish(wish) if isinstance(wish, str) else wish
        seed = seed if wish.seed is None else wish.seed
        self._check([wish.prompt], n, seed, None)
        bare = dataclasses.replace(wish, prompt="", seed=None)
        if last is None or last[0] != bare:
            last = bare, self.ask(wish)
        return last, [((wish.prompt, seed + k), last[1]) for k in range(n)]

    def ask(self, wish: Wish) -> Ask:
        """What a wish asks of the driver. MultigenError for what does not fit, before any network call."""
        recipe = self._recipe(wish.overrides)
        steps = recipe.sample.steps if wish.steps is None else wish.steps
        if steps < 1:
            raise MultigenError(f"steps: {steps} is not allowed; give 1 or more")
        if wish.wrap and not wish.long:
            raise MultigenError("wrap: it goes with long (--long)")
        guide_part(recipe.guide, wish.scale)
        grid(self, recipe.timesteps, steps)
        check_polish(self, recipe.sample.polish)
        if wish.edit is None:
            what, start = "size or duration", self._start(recipe, wish)
        elif wish.size is not None or wish.duration is not None:
            raise MultigenError("size, duration: an edit is as large as its medium; extend adds to it")
        else:
            what, start = "the medium", wish.edit.start(self, wish)
        if start.edit is not None and start.edit.invert is not None:
            recipe = exact(recipe)
        with refused(what):
            check_size(start.shape)
            shape = self.codec.shape(start.shape)
        return Ask(recipe, shape, steps, wish.scale, wish.negative, start.edit, start.known,
                   window=start.window, wrap=wish.wrap)  # fmt: skip

    def _recipe(self, overrides: Sequence[str]) -> Recipe:
        """The model's, under overrides of how it samples."""
        if not overrides:
            return self.recipe
        from multigen.model.load import sampling_recipe

        recipe = sampling_recipe(self.recipe, overrides)
        if recipe.loras != self.recipe.loras:
            raise MultigenError("loras: the requests of one model share its weights; load another for others")
        if recipe.seed != self.recipe.seed:
            raise MultigenError("seed: it is no override of one request; give it as the request's own")
        check_combination(recipe)
        return recipe

    def _start(self, recipe: Recipe, wish: Wish) -> Start:
        """Of noise alone."""
        size = recipe.sample.size if wish.size is None else wish.size
        duration = recipe.sample.duration if wish.duration is None else wish.duration
        with refused("size or duration"):
            shape = self.modality.shape(size, duration)
        return Start(shape, self.window(shape, long=True) if wish.long else None)

    def words(self, prompt: str) -> list[str]:
        """The prompt as the tokens that the network attends to; empty where the conditioner has none."""
        return self.conditioner.words(prompt) if isinstance(self.conditioner, Worded) else []

    def read(self, media: Media | Tensor | str | Path) -> Tensor:
        """A medium as [C, *D] of the model's own channels, rate and frame rate. MediaError names a file's fault."""
        if isinstance(media, str | Path):
            media = self.modality.read(Path(media))
        tensor = media.tensor if isinstance(media, Media) else media
        natural = self.modality.shape()
        if tensor.ndim != len(natural):
            raise MultigenError(
                f"the medium: shape {tuple(tensor.shape)} is not allowed; {self.modality.name} has {len(natural)} axes"
            )
        if tensor.shape[0] != natural[0]:
            tensor = self.modality.fit(tensor, (natural[0], *tensor.shape[1:]))
        return tensor.float()

    def window(self, shape: tuple[int, ...], long: bool) -> tuple[int, ...] | None:
        """Sizes of windows in model space; None where the model takes all of it. MultigenError if that is too much."""
        settings = self.recipe.sample
        largest = zip(
            self.modality.shape()[1:], self.modality.shape(settings.size, settings.duration)[1:], strict=True
        )
        most = [max(pair) for pair in largest]
        if all(n <= m for n, m in zip(shape[1:], most, strict=True)):
            return None
        if not long:
            raise MultigenError(
                f"the medium: {list(shape[1:])} is larger than the model's {most}; cut it, or make it in windows "
                "(long=True, --long)"
            )
        return self.codec.shape((shape[0], *most))[1:]

    def _stream(
        self,
        prompt: str | Sequence[str],
        n: int,
        seed: int | None,
        batch: int | None,
        ask: Ask,
        watch: Callable[[Progress], None] | None,
    ) -> Iterator[Media]:
        """What is wrong is said at once; then each medium as it comes."""
        seed = self.recipe.seed if seed is None else seed
        batch = self.recipe.sample.batch if batch is None else batch
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        self._check(prompts, n, seed, batch)
        jobs = [(p, seed + i * n + k) for i, p in enumerate(prompts) for k in range(n)]
        parts = [jobs[start : start + batch] for start in range(0, len(jobs), batch)]
        return (medium for part in parts for medium in self._batch(part, ask, watch))

    def _check(self, prompts: Sequence[str], n: int, seed: int, batch: int | None) -> None:
        """MultigenError for what no request may ask."""
        _ = self.denoiser
        for name, value in (("n", n), ("batch", 1 if batch is None else batch)):
            if value < 1:
                raise MultigenError(f"{name}: {value} is not allowed; give 1 or more")
        if not 0 <= seed < 2**62:
            raise MultigenError(f"seed: {seed} is not allowed; give a whole number from 0 to 2^62 - 1")
        self.check_prompts(prompts)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """MultigenError if the conditioner cannot take one."""
        with refused("prompt"):
            self.conditioner.request(prompts)

    def _batch(
        self, jobs: Sequence[Job], ask: Ask, watch: Callable[[Progress], None] | None
    ) -> Iterator[Media]:
        requests = [Sampling(*made, self.denoiser) for made in trajectories(self, jobs, ask)]
        for progress in drive(requests, max_batch=2**31):
            if watch is not None:
                watch(progress)
        x = torch.cat([request.sample for request in requests if request.sample is not None])
        for row, job in zip(x, jobs, strict=True):
            yield self.finished(row, job, ask)

    def finished(self, x: Tensor, job: Job, ask: Ask) -> Media:
        """A sample [C, *D] of model space as the medium that was asked for."""
        medium = self.medium(x, *job)
        if ask.edit is None:
            return medium
        return dataclasses.replace(medium, tensor=ask.edit.finished(medium.tensor))

    @torch.no_grad()
    def medium(self, x: Tensor, prompt: str, seed: int) -> Media:
        """A sample [C, *D] of model space as a medium. What the codec draws, such as phases, is keyed by `seed`."""
        media = self.codec.decode(x[None], seed=seed)[0].float().cpu()
        return Media(media, self.modality, prompt, seed)

    @torch.no_grad()
    def encode(self, *prompts: str) -> Cond:
        """The condition of a batch of prompts. MultigenError if the conditioner cannot take one."""
        with refused("prompt"):
            return self.conditioner(self.conditioner.request(prompts)).to(self.device)

    def weaker(self, source: str) -> Denoiser:
        """The denoiser of other weights: a run folder, a file, a shipped name or a checkpoint of a run."""
        from multigen.model.load import build, find_weights

        return build(found := find_weights(source), found.recipe, device=str(self.device)).denoiser
