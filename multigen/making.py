"""Maker: what makes media with a model's parts: one request after another, or many at once."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.conditioners import Worded
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.drive import Driver, Progress, Request, drive
from multigen.errors import MultigenError
from multigen.media import Media
from multigen.modalities import Modality
from multigen.recipe import Recipe
from multigen.sampling import Ask, Job, Wish, guide_part, trajectories, trajectory


class Maker(ABC):
    """The parts that `multigen.model.Model` has, and all that generates with them."""

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
        ask = self._ask(self._shape(size, duration), steps, scale, negative)
        if long:
            window = self._window(self._media_shape(size, duration), long)
            ask = dataclasses.replace(ask, window=window, wrap=wrap)
        return self._stream(prompt, n, seed, batch, ask, watch)

    def many(
        self,
        wishes: Sequence[Wish],
        *,
        batch: int | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> Iterator[tuple[int, Media]]:
        """Media of different steps, samplers, guides and sizes side by side: (place in `wishes`, medium) as they end.

        `batch` of them are under way at a time; each joins as another leaves, and all that wait for the network at
        once share a call where their shapes agree. Each is what it is alone (to 1e-4 of full scale in fp32). What is
        wrong with any is said before the first begins.
        """
        from multigen.loading import sampling_recipe

        asks, jobs = [], []
        for place, wish in enumerate(wishes):
            jobs.append((wish.prompt, self.recipe.seed + place if wish.seed is None else wish.seed))
            try:
                recipe = sampling_recipe(self.recipe, wish.overrides) if wish.overrides else self.recipe
                if recipe.loras != self.recipe.loras:
                    raise MultigenError(
                        "loras: the requests of one model share its weights; load another for others"
                    )
                ask = self._ask(self._shape(wish.size, wish.duration), wish.steps, wish.scale, wish.negative)
                self._check([wish.prompt], 1, jobs[-1][1], batch)
            except MultigenError as error:
                raise MultigenError(f"request {place + 1}: {error}") from error
            asks.append(dataclasses.replace(ask, recipe=recipe))
        return self._many(jobs, asks, self.recipe.sample.batch if batch is None else batch, watch)

    def _many(
        self,
        jobs: Sequence[Job],
        asks: Sequence[Ask],
        batch: int,
        watch: Callable[[Progress], None] | None,
    ) -> Iterator[tuple[int, Media]]:
        # The longest first, so that few are left alone in the end.
        order = sorted(range(len(asks)), key=lambda k: -asks[k].steps)
        driver, waiting = Driver(max_batch=4 * batch), deque(order)
        places: dict[Request, int] = {}
        while waiting or driver.requests:
            while waiting and len(driver.requests) < batch:
                place = waiting.popleft()
                request = driver.add(Request(*trajectory(self, [jobs[place]], asks[place]), self.denoiser))
                places[request] = place
            for progress in driver.round():
                if watch is not None:
                    watch(progress)
                if progress.sample is not None:
                    place = places.pop(progress.request)
                    yield place, self.medium(progress.sample[0], *jobs[place])

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

    def _window(self, shape: tuple[int, ...], long: bool) -> tuple[int, ...] | None:
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

    def _ask(
        self,
        shape: tuple[int, ...],
        steps: int | None,
        scale: float | None,
        negative: str | None,
        window: tuple[int, ...] | None = None,
        wrap: bool = False,
    ) -> Ask:
        steps = self.recipe.sample.steps if steps is None else steps
        if steps < 1:
            raise MultigenError(f"steps: {steps} is not allowed; give 1 or more")
        guide_part(self.recipe.guide, scale)
        return Ask(self.recipe, shape, steps, scale, negative, window=window, wrap=wrap)

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

    def _check_all(self, prompts: Sequence[str], n: int, seed: int | None, batch: int | None) -> None:
        """As `_check`, before anything is encoded: a codec may be a network, too."""
        self._check(prompts, n, self.recipe.seed if seed is None else seed, batch)

    def _check(self, prompts: Sequence[str], n: int, seed: int, batch: int | None) -> None:
        """MultigenError for what no request may ask."""
        _ = self.denoiser
        for name, value in (("n", n), ("batch", 1 if batch is None else batch)):
            if value < 1:
                raise MultigenError(f"{name}: {value} is not allowed; give 1 or more")
        if not 0 <= seed < 2**62:
            raise MultigenError(f"seed: {seed} is not allowed; give a whole number from 0 to 2^62 - 1")
        with _refused("prompt"):
            self.conditioner.request(prompts)

    def _media_shape(self, size: int | tuple[int, int] | None, duration: float | None) -> tuple[int, ...]:
        settings = self.recipe.sample
        size = settings.size if size is None else size
        with _refused("size or duration"):
            return self.modality.shape(size, settings.duration if duration is None else duration)

    def _shape(self, size: int | tuple[int, int] | None, duration: float | None) -> tuple[int, ...]:
        """Of model space."""
        media = self._media_shape(size, duration)
        with _refused("size or duration"):
            return self.codec.shape(media)

    def _batch(
        self, jobs: Sequence[Job], ask: Ask, watch: Callable[[Progress], None] | None
    ) -> Iterator[Media]:
        requests = [Request(*made, self.denoiser) for made in trajectories(self, jobs, ask)]
        for progress in drive(requests, max_batch=2**31):
            if watch is not None:
                watch(progress)
        x = torch.cat([request.sample for request in requests if request.sample is not None])
        for row, (prompt, seed) in zip(x, jobs, strict=True):
            yield self.medium(row, prompt, seed)

    @torch.no_grad()
    def medium(self, x: Tensor, prompt: str, seed: int) -> Media:
        """A sample [C, *D] of model space as a medium. What the codec draws, such as phases, is keyed by `seed`."""
        media = self.codec.decode(x[None], seed=seed)[0].float().cpu()
        return Media(media, self.modality, prompt, seed)

    @torch.no_grad()
    def encode(self, *prompts: str) -> Cond:
        """The condition of a batch of prompts. MultigenError if the conditioner cannot take one."""
        with _refused("prompt"):
            return self.conditioner(self.conditioner.request(prompts)).to(self.device)

    def weaker(self, source: str) -> Denoiser:
        """The denoiser of other weights: a run folder, a file, a shipped name or a checkpoint of a run."""
        from multigen.loading import build, find_weights

        return build(found := find_weights(source), found.recipe, device=str(self.device)).denoiser


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """A part's ValueError becomes a MultigenError about `what`."""
    try:
        yield
    except MultigenError:
        raise
    except ValueError as error:
        raise MultigenError(f"{what}: {error}") from error
