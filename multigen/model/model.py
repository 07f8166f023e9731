"""Model: the parts of a recipe with their weights, and what Python does with them: generate, edit, save."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from multigen.conditioners.knowledge import Knowledge, Verdict
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.device import choose_device
from multigen.errors import MultigenError
from multigen.generation.batching import Batcher, OnProgress
from multigen.generation.blend import blend
from multigen.generation.counts import check_counts
from multigen.generation.part_like import PartLike
from multigen.generation.parts import encode_prompts
from multigen.generation.plan import jobs
from multigen.generation.request import EditRequest, Request, Size
from multigen.generation.trace import Trace, traced
from multigen.modalities.media import Media, MediaList
from multigen.model import weights as model_weights
from multigen.model.adapters import attach
from multigen.model.build import build_parts, facts_of
from multigen.model.guarding import guards_of
from multigen.model.knowledge import with_loras
from multigen.model.loras import LoraStack
from multigen.model.ready import make_ready, set_precision
from multigen.model.source import Found, find_weights
from multigen.model.stages import former_of
from multigen.model.students import with_student
from multigen.recipe.schema import Recipe, WeightedLora
from multigen.registry import Part
from multigen.storage.diffusers_folder import Turns


class Model:
    """All that a recipe names, built on one device; random until `load_weights`, `multigen.load` or training."""

    def __init__(self, recipe: Recipe, *, device: str | None = None, turns: Turns | None = None) -> None:
        self.recipe, self.device = recipe, choose_device(device)
        self._built = build_parts(recipe, self.device, turns)
        self.modality, self.codec, self.conditioner, self._denoiser, self.cascade = self._built[:5]
        self.learned: dict[str, nn.Module] = {"conditioner": self.conditioner, "codec": self.codec}
        if self._denoiser is not None:
            self.learned["backbone"] = self._denoiser.backbone
        for name, module in self.learned.items():
            module.eval().to("cpu" if name == "backbone" and recipe.sample.offload else self.device)
        self.loras, (self.guard, self.nearness) = LoraStack(), guards_of(recipe, self.modality, self.device)
        self.knowledge: Knowledge | None = None  # what the weights were told
        self.measured: Mapping[str, Any] = {}  # of the weights
        self.pictures: tuple[Tensor | None, ...] = ()  # of its adapters
        self._others: dict[str, Denoiser] = {}
        self._stages: tuple[Found, ...] = ()  # before it, where they came with its weights
        self._former: Model | None = None
        self._hash = model_weights.KnownHash()

    @classmethod
    def of(
        cls, found: Found, recipe: Recipe | None = None, *, device: str | None = None, turns: Turns | None = None,
    ) -> Model:  # fmt: skip
        """The model of what was found; `recipe` may differ from the found one in how it samples."""
        model = cls(found.recipe if recipe is None else recipe, device=device, turns=turns)
        if found.tensors is not None:
            model.load_weights(found.tensors, found.where)
        model.knowledge, model.loras.own = found.knowledge, with_student(model.recipe, found.adapter)
        model.measured = found.measured if model.loras.own is None else {}  # of the weights without it
        make_ready(model._denoiser, model.recipe)
        model._stages = found.stages if model.recipe.stages == found.recipe.stages else ()
        model.set_loras(model.recipe.loras)
        model.pictures = attach(model._denoiser, model.conditioner, model.recipe.adapters, found.words)
        return model

    @property
    def denoiser(self) -> Denoiser:
        """MultigenError if the recipe trains a codec and has none."""
        if self._denoiser is None:
            raise MultigenError(
                f"{self.recipe.name}: this recipe trains its codec; it has no backbone and generates nothing"
            )
        return self._denoiser

    @property
    def former(self) -> Model | None:
        """The stage before it, of a cascade that names one; it is loaded when it is first asked for."""
        if self._former is None and self.recipe.stages:
            load = functools.partial(Model.of, device=str(self.device), turns=self._built.turns)
            self._former = former_of(self, self._stages, load)
        return self._former

    @property
    def facts(self) -> dict[str, str]:
        """Device, number of parameters and shape of model space, for logs and reports."""
        return facts_of(self._built, self.device)

    def __repr__(self) -> str:
        facts = {"makes": self.modality.describe(self.modality.shape()), **self.facts}
        return f"Model({self.recipe.name}: {'; '.join(f'{name}: {value}' for name, value in facts.items())})"

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        *,
        n: int = 1,
        seed: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        size: Size | None = None,
        duration: float | None = None,
        sliding_window: bool = False,
        tile: str | bool | None = None,
        loop: bool = False,
        sampler: PartLike | None = None,
        guide: PartLike | None = None,
        cache: PartLike | None = None,
        options: Mapping[str, Any] | None = None,
        batch: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> MediaList:
        """`n` media for each prompt, prompt after prompt; what is left out comes from the recipe.

        Medium k of all has the seed `seed + k`, and is the same whatever the batch. `batch` bounds the samples of one
        network call before guidance; `on_progress` sees every answered query; the rest as in `Request`. MultigenError
        for what does not fit the model, before any network call.
        """
        common = Request(
            steps=steps, guidance_scale=guidance_scale, negative_prompt=negative_prompt, size=size, duration=duration,
            sliding_window=sliding_window, tile=tile, loop=loop, sampler=sampler, guide=guide, cache=cache,
            options=options or {},
        )  # fmt: skip
        return self._all(common, prompt, n, seed, batch, on_progress)

    def edit(
        self,
        media: Media | Tensor | str | Path,
        prompt: str | Sequence[str] = "",
        *,
        strength: float | None = None,
        mask: str | Path | None = None,
        mask_is: str | None = None,
        keep: str | Tensor | None = None,
        extend: str | int | Sequence[int] | None = None,
        fit: str | None = None,
        feather: float | None = None,
        resample: int = 1,
        invert: str | None = None,
        restore: str | Mapping[str, Any] | Part | None = None,
        noise: float = 0.02,
        last: Tensor | str | Path | None = None,
        purify: float | None = None,
        n: int = 1,
        seed: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        sliding_window: bool = False,
        tile: str | bool | None = None,
        loop: bool = False,
        sampler: PartLike | None = None,
        guide: PartLike | None = None,
        cache: PartLike | None = None,
        options: Mapping[str, Any] | None = None,
        batch: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> MediaList:
        """`n` edits of a medium for each prompt: `media` to `purify` as in `EditRequest`, the rest as in `generate`."""
        edit = EditRequest(
            media, strength, mask, mask_is, keep, extend, fit, feather, resample, invert, restore, noise, last, purify
        )  # fmt: skip
        common = Request(
            steps=steps, guidance_scale=guidance_scale, negative_prompt=negative_prompt, sampler=sampler, guide=guide,
            cache=cache, sliding_window=sliding_window, tile=tile, loop=loop, options=options or {}, edit=edit,
        )  # fmt: skip
        return self._all(common, prompt, n, seed, batch, on_progress)

    def stream(
        self, requests: Request | str | Sequence[Request | str], *, n: int = 1, seed: int | None = None,
        batch: int | None = None, on_progress: OnProgress | None = None,
    ) -> Iterator[Media]:  # fmt: skip
        """As `batcher`, in the order of the requests: each medium as soon as it and those before it are made."""
        return self.batcher(requests, n=n, seed=seed, batch=batch, on_progress=on_progress).in_order()

    def batcher(
        self,
        requests: Request | str | Sequence[Request | str],
        *,
        n: int = 1,
        seed: int | None = None,
        batch: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> Batcher:
        """Media of different steps, samplers, guides, sizes and edits side by side: (place, medium) as they end.

        A text is a `Request` for that prompt. Each request is made `n` times: its medium k has the place `n * i + k`
        and the seed `its own + k`, or `seed` (the recipe's) + place where it has none; `batch` of them at a time. Each
        is what it is alone (to 1e-4 of full scale in fp32). More may be added with `add` and any taken out with
        `cancel`. What is wrong with a request is said before the first begins.
        """
        batch = self.recipe.sample.batch if batch is None else batch
        seed = self.recipe.seed if seed is None else seed
        check_counts(self, n=n, seed=seed, batch=batch)
        asked = [requests] if isinstance(requests, Request | str) else requests
        self._hash.begin(self.state_dict())  # files name it
        return Batcher(self, jobs(self, asked, n, seed), batch, on_progress)

    def blend(
        self, ends: tuple[Request | str, Request | str], *, n: int = 8, batch: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> MediaList:  # fmt: skip
        """`n` media on the way from one request to another, both ends among them; see `multigen.generation.blend`."""
        batch = self.recipe.sample.batch if batch is None else batch
        return MediaList(blend(self, ends, n=n, batch=batch, on_progress=on_progress).in_order())

    def trace(self, request: Request | str = "") -> Trace:
        """One medium and how it came about. The medium is the one that `generate` gives."""
        return traced(self, request)

    def encode(self, *prompts: str) -> Cond:
        """The condition of a batch of prompts. MultigenError if the conditioner cannot take one."""
        return encode_prompts(self, *prompts)

    def judge(self, prompt: str) -> Verdict | None:
        """How new a prompt is to the model; None where its training's captions are unknown, and for "" ."""
        knows = with_loras(self.knowledge, self.recipe.loras) if prompt.strip() else None
        return None if knows is None else knows.judge(self.conditioner, prompt)

    def _all(
        self, common: Request, prompt: str | Sequence[str], n: int, seed: int | None, batch: int | None,
        on_progress: OnProgress | None,
    ) -> MediaList:  # fmt: skip
        prompts = prompt if isinstance(prompt, Sequence) and not isinstance(prompt, str) else [prompt]
        requests = [dataclasses.replace(common, prompt=one) for one in prompts]
        return MediaList(self.stream(requests, n=n, seed=seed, batch=batch, on_progress=on_progress))

    def state_dict(self) -> dict[str, Tensor]:
        """All that was learned or measured: backbone.*, conditioner.*, codec.*"""
        return model_weights.state_of(self.learned)

    def load_weights(self, tensors: dict[str, Tensor], where: str) -> None:
        """Set the weights; MultigenError lists the first mismatches if they are another model's."""
        what = f"{where}: these weights are of another model than recipe {self.recipe.name}"
        model_weights.load_state(self.learned, tensors, what)
        self.loras.reset()
        self.measured = {}  # that was of other weights
        set_precision(self._denoiser, self.recipe, self.device, self.measured)

    def start_from(self, tensors: dict[str, Tensor], where: str) -> None:
        """As `load_weights`, of a former model, for training; `Backbone.inherit` adapts an image model's to videos."""
        self.load_weights(model_weights.inherited(self.learned.get("backbone"), tensors), where)

    def adapt(self, loras: Mapping[str, float]) -> None:
        """From now on sample with these LoRAs, each with its weight, and no others; {}: without.

        A LoRA is a file or a run folder; the model's own stays. MultigenError for what is none, or another network's.
        """
        self.set_loras([WeightedLora(str(path), weight) for path, weight in loras.items()])

    def set_loras(self, loras: Sequence[WeightedLora]) -> None:
        """As `adapt`, as a recipe lists them."""
        rows = self.loras.read(loras, self._denoiser)
        if rows or self._denoiser is not None:
            hosts = [*self.denoiser.backbone.hosts(), *self.conditioner.hosts()]
            self.loras.replace(rows, hosts, self.recipe.name, lambda: model_weights.base_of(self.learned))
        self.recipe = dataclasses.replace(self.recipe, loras=tuple(loras))
        set_precision(self._denoiser, self.recipe, self.device, self.measured)

    def bare(self) -> AbstractContextManager[None]:
        """Inside the block the model is its base, without any LoRA."""
        return self.loras.bare()

    def weights_hash(self) -> str:
        """sha256 over the sorted tensors' names and bytes, first 16 hex digits."""
        return model_weights.hash_of(self.state_dict())

    def known_hash(self) -> str:
        """As `weights_hash`, computed again only where the weights are others than before."""
        return self._hash.of(self.state_dict())

    def load_denoiser(self, source: str) -> Denoiser:
        """The denoiser of other weights, for autoguidance: a run folder, a file, a shipped name or a checkpoint."""
        if (known := self._others.get(source)) is None:
            known = self._others[source] = Model.of(find_weights(source), device=str(self.device)).denoiser
        return known

    def save(self, path: str | Path, *, half: bool = False) -> Path:
        """Write one safetensors file that `multigen.load` reads: weights, and the recipe in its header.

        `half` halves its size: float16 but for the codec's statistics, MultigenError for a weight beyond its range.
        """
        kept = self.loras.kept(self.state_dict())
        own = model_weights.stored(kept, self.knowledge, self.recipe, self.codec)
        return model_weights.save_weights(Path(path), own, half=half)
