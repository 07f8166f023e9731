"""Model: the parts of a recipe put together, and the Python API: generate, save, load."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.codecs import Codec
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.drive import Driver, Progress, Request, drive
from multigen.datasets import Dataset
from multigen.device import choose_device, choose_precision, describe
from multigen.errors import MultigenError, RecipeError
from multigen.media import Media
from multigen.modalities import Modality
from multigen.operators import Operator
from multigen.recipe import Recipe
from multigen.registry import Part
from multigen.sampling import Ask, Blend, Edit, Job, Known, Wish, guide_part, trajectories, trajectory
from multigen.trace import Trace
from multigen.training import checkpoint as checkpoints


def resolve(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with what only the dataset knows filled in: the names of the classes.

    RecipeError if there are none, or if the recipe names others or in another order.
    """
    part = recipe.conditioner
    if "classes" not in {a.name for a in registry.arguments("conditioner", part.name, "conditioner")}:
        return recipe
    if not dataset.classes:
        raise RecipeError(
            f"conditioner: the dataset {recipe.data.name} has no labels; put the files into one sub-folder a class, or "
            "condition on text (conditioner.name=text)"
        )
    given = part.args.get("classes")
    if given is not None and list(given) != list(dataset.classes):
        raise RecipeError(
            f"conditioner.classes: {list(given)} is not allowed. Allowed: the classes of the data in their order, "
            f"{list(dataset.classes)}, or null. A run that was trained on others goes on with those alone."
        )
    args = {**part.args, "classes": list(dataset.classes)}
    return dataclasses.replace(recipe, conditioner=Part(part.name, args))


def build_dataset(recipe: Recipe, modality: Modality | None = None) -> Dataset:
    """The recipe's dataset, for its modality."""
    modality = modality or registry.build("modality", recipe.modality, where="modality")
    return registry.build("dataset", recipe.data, where="data", given={"modality": modality})


class Model:
    """Everything that a recipe names, built: modality, codec, conditioner and denoiser, on one device.

    `weights` are random until `load_weights`, `multigen.load` or training sets them.
    """

    def __init__(self, recipe: Recipe, *, device: str | None = None) -> None:
        self.recipe = recipe
        self.device = choose_device(device)
        precision = choose_precision(recipe.sample.precision, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.modality: Modality = registry.build("modality", recipe.modality, where="modality")
            given: dict[str, Any] = {"modality": self.modality}
            self.codec: Codec = registry.build("codec", recipe.codec, where="codec", given=given)
            self.conditioner: Any = registry.build(
                "conditioner", recipe.conditioner, where="conditioner", given=given
            )
            try:
                shape = self.codec.shape(self.modality.shape())
            except ValueError as error:
                raise RecipeError(f"codec ({recipe.codec.name}): {error}") from error
            given |= {"axes": len(shape) - 1, "channels": shape[0], "out_channels": shape[0]}
            given |= {"cond": self.conditioner.spec}
            self._denoiser = None if recipe.backbone is None else _denoiser(recipe, given, precision)
        self.learned: dict[str, nn.Module] = {"conditioner": self.conditioner, "codec": self.codec}
        if self._denoiser is not None:
            self.learned["backbone"] = self._denoiser.backbone
            self._denoiser.to(self.device)
        for module in self.learned.values():
            module.to(self.device).eval()

    @property
    def denoiser(self) -> Denoiser:
        """MultigenError if the recipe trains a codec and has none."""
        if self._denoiser is None:
            raise MultigenError(
                f"{self.recipe.name}: this recipe trains its codec; it has no backbone and generates nothing"
            )
        return self._denoiser

    @property
    def facts(self) -> dict[str, str]:
        """What a reader of a log wants to know of the model."""
        generates = self._denoiser is not None
        count = sum(p.numel() for p in (self.denoiser if generates else self.codec).parameters())
        return {
            "device": describe(self.device, self.denoiser.precision if generates else None),
            "parameters": f"{count / 1e6:.2f} M",
            "model space": " x ".join(map(str, self.codec.shape(self.modality.shape()))),
        }

    # --- making media -----------------------------------------------------------------------------------------

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
            media = self.modality.shape(
                self.recipe.sample.size if size is None else size,
                self.recipe.sample.duration if duration is None else duration,
            )
            ask = dataclasses.replace(ask, window=self._window(media, long), wrap=wrap)
        return self._stream(prompt, n, seed, batch, ask, watch)

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
        from multigen.editing import prepared, seam_of, spliced

        source = prepared(self.read(media), keep, extend)
        width = seam_of(self.modality) if seam is None else seam
        if resample < 1 or width < 0:
            raise MultigenError(
                f"resample, seam: {resample}, {width} is not allowed; give 1 or more, 0 or more"
            )
        strength = (0.6 if source.keep is None else 1.0) if strength is None else strength
        if not 0 < strength <= 1:
            raise MultigenError(f"strength: {strength} is not allowed; give a number over 0, to 1")
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
        made: Operator = registry.build("operator", operator, where="operator", given=given)
        medium = self.read(media)
        try:
            whole = made.whole(tuple(medium.shape))
            window = self._window(whole, long=False)
            ask = self._ask(self.codec.shape(whole), steps, scale, negative, window=window)
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

    def words(self, prompt: str) -> list[str]:
        """The prompt as the tokens that the network attends to; empty where the conditioner has none."""
        split = getattr(self.conditioner, "words", None)
        return [] if split is None else list(split(prompt))

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

        asks: list[Ask] = []
        for place, wish in enumerate(wishes):
            try:
                recipe = sampling_recipe(self.recipe, wish.overrides) if wish.overrides else self.recipe
                ask = self._ask(self._shape(wish.size, wish.duration), wish.steps, wish.scale, wish.negative)
                self._check([wish.prompt], 1, self._seed(wish, place), batch)
            except MultigenError as error:
                raise MultigenError(f"request {place + 1}: {error}") from error
            asks.append(dataclasses.replace(ask, recipe=recipe))
        return self._many(wishes, asks, self.recipe.sample.batch if batch is None else batch, watch)

    def _seed(self, wish: Wish, place: int) -> int:
        return self.recipe.seed + place if wish.seed is None else wish.seed

    def _many(
        self,
        wishes: Sequence[Wish],
        asks: Sequence[Ask],
        batch: int,
        watch: Callable[[Progress], None] | None,
    ) -> Iterator[tuple[int, Media]]:
        driver, waiting = Driver(max_batch=4 * batch), deque(range(len(asks)))
        places: dict[Request, int] = {}
        while waiting or driver.requests:
            while waiting and len(driver.requests) < batch:
                place = waiting.popleft()
                job = (wishes[place].prompt, self._seed(wishes[place], place))
                request = driver.add(Request(*trajectory(self, [job], asks[place]), self.denoiser))
                places[request] = place
            for progress in driver.round():
                if watch is not None:
                    watch(progress)
                if progress.sample is not None:
                    place = places.pop(progress.request)
                    yield (
                        place,
                        self.medium(
                            progress.sample[0], wishes[place].prompt, self._seed(wishes[place], place)
                        ),
                    )

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

    def _check(self, prompts: Sequence[str], n: int, seed: int, batch: int | None) -> None:
        """MultigenError for what no request may ask."""
        _ = self.denoiser
        for name, value in (("n", n), ("batch", 1 if batch is None else batch)):
            if value < 1:
                raise MultigenError(f"{name}: {value} is not allowed; give 1 or more")
        if not 0 <= seed < 2**62:
            raise MultigenError(f"seed: {seed} is not allowed; give a whole number from 0 to 2^62 - 1")
        try:
            self.conditioner.request(prompts)
        except MultigenError:
            raise
        except ValueError as error:
            raise MultigenError(f"prompt: {error}") from error

    def _shape(self, size: int | tuple[int, int] | None, duration: float | None) -> tuple[int, ...]:
        settings = self.recipe.sample
        try:
            media = self.modality.shape(
                size=settings.size if size is None else size,
                duration=settings.duration if duration is None else duration,
            )
            return self.codec.shape(media)
        except ValueError as error:
            raise MultigenError(f"size or duration: {error}") from error

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
    def encode(self, prompt: str) -> Cond:
        """The condition of one prompt, a batch of one. MultigenError if the conditioner cannot take it."""
        try:
            return self.conditioner(self.conditioner.request([prompt])).to(self.device)
        except MultigenError:
            raise
        except ValueError as error:
            raise MultigenError(f"prompt: {error}") from error

    def weaker(self, source: str) -> Denoiser:
        """The denoiser of other weights: a run folder, a file, a shipped name or a checkpoint of a run."""
        from multigen.loading import build, find_weights

        return build(found := find_weights(source), found.recipe, device=str(self.device)).denoiser

    # --- weights ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """All that was learned or measured: backbone.*, conditioner.*, codec.*"""
        return {f"{k}.{n}": t for k, module in self.learned.items() for n, t in module.state_dict().items()}

    def load_weights(self, tensors: dict[str, Tensor], where: str) -> None:
        """Set the weights; MultigenError lists the first mismatches if they are another model's."""
        expected = self.state_dict()
        rows = checkpoints.mismatches(expected, tensors)
        if rows:
            raise MultigenError(
                f"{where}: these weights are of another model than recipe {self.recipe.name}: {'; '.join(rows)}"
            )
        for name, module in self.learned.items():
            module.load_state_dict(
                {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}.")}
            )

    def start_from(self, tensors: dict[str, Tensor], where: str) -> None:
        """Set the weights to those of a former model, for training: of an image model also in a video model.

        The backbone may have an `inherit(weights)` that makes its state of another's. MultigenError as in
        `load_weights`.
        """
        inherit = getattr(self.learned.get("backbone"), "inherit", None)
        if inherit is not None:
            prefix = "backbone."
            old = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            rest = {k: v for k, v in tensors.items() if not k.startswith(prefix)}
            tensors = {**{prefix + k: v for k, v in inherit(old).items()}, **rest}
        self.load_weights(tensors, where)

    def weights_hash(self) -> str:
        """sha256 over the sorted tensors' names and bytes, first 16 hex digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | Path, *, half: bool = False) -> Path:
        """Write one safetensors file that `multigen.load` reads: weights, and the recipe in its header.

        `half` halves its size: the backbone's and conditioner's numbers as float16, the codec's statistics as they
        are. MultigenError if a weight is beyond float16's range.
        """
        from multigen.files import atomic
        from multigen.recipe import to_yaml

        path = Path(path)
        if path.suffix != ".safetensors":
            raise MultigenError(f"{path}: weights are saved as .safetensors")
        with atomic(path) as temporary:
            # One entry alone: safetensors writes several in random order, and equal weights shall be equal bytes.
            tensors = {k: _halved(k, v) for k, v in self.state_dict().items()} if half else self.state_dict()
            checkpoints.save_tensors(temporary, tensors, {"recipe": to_yaml(self.recipe)})
        return path


def _denoiser(recipe: Recipe, given: dict[str, Any], precision: torch.dtype | None) -> Denoiser:
    assert recipe.backbone is not None
    try:
        backbone: nn.Module = registry.build("backbone", recipe.backbone, where="backbone", given=given)
    except (RuntimeError, MemoryError) as error:  # torch's way to say that there is not that much memory
        reason = str(error).splitlines()[0]
        raise RecipeError(f"backbone ({recipe.backbone.name}): cannot be built here ({reason})") from error
    schedule = registry.build("schedule", recipe.schedule, where="schedule")
    prediction = registry.build("prediction", recipe.prediction, where="prediction")
    return Denoiser(backbone, schedule, prediction, precision=precision)


def _halved(name: str, tensor: Tensor) -> Tensor:
    # A codec's statistics are few and exact; what it learned are weights like others.
    if (
        name.startswith("codec.") and not name.startswith("codec.vocoder.")
    ) or not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise MultigenError(f"{name}: holds numbers beyond float16's range; save without half")
    return half
