"""The models of a server: loaded when they are asked for, the least recently used ones unloaded to make room."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

from multigen.core.copies import copied_bytes
from multigen.errors import MultigenError
from multigen.generation.parts import encode_prompts
from multigen.model.autoencoders import size_multiple
from multigen.model.compatibility import check_combination
from multigen.model.diffusers import animated
from multigen.model.load import load
from multigen.model.model import Model
from multigen.model.source import locate
from multigen.provenance.signing import signer_for
from multigen.recipe.schema import Recipe
from multigen.recipe.students import overlay, students
from multigen.registry import build
from multigen.safety.guard import with_standard
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.settings import Busy, Draining, Settings
from multigen.serving.engine.watch import Watch
from multigen.serving.engine.weights import expected_bytes

log = logging.getLogger(__name__)

# An engine's model: its id, the names and weights of the LoRAs beside it, and whether its student samples.
Key = tuple[str, tuple[tuple[str, float], ...], bool]


@dataclass(frozen=True)
class Served:
    """A model that a server offers: its id, where it is loaded from, what its recipe says, and bytes of its weights."""

    id: str
    source: str
    recipe: Recipe
    size: int = 0
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def modality(self) -> str:
        """The name of its modality."""
        return self.recipe.modality.name

    @cached_property
    def fast(self) -> int | None:
        """The steps of its student, the shipped one of its weights; None where it has none."""
        if self.recipe.weights not in students():
            return None
        return int(overlay(self.recipe.weights, True).data["sample"]["steps"])

    @cached_property
    def size_multiple(self) -> int:
        """What divides the sides of what it makes. Of a folder it is read from files: once, not at each request."""
        return size_multiple(self.recipe)


class Models:
    """Engines by the id of their model and the LoRAs beside it.

    budget    bytes of weights that may be in memory; what does not fit makes the least recently used idle model go.
              None: no bound
    patience  s that a model waits for others to end what they were given, before its request is refused
    filtered  whether all models have the filters that servers for others have, beside their own

    All networks run in one worker thread: they share the machine's cores, and take turns by call. Models are loaded in
    another, so that the networks of the others go on meanwhile, and filters look at finished media in a third.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        settings: Settings | None = None,
        watch: Watch | None = None,
        device: str | None = None,
        budget: int | None = None,
        loras: Mapping[str, str] | None = None,
        patience: float = 60.0,
        filtered: bool = False,
        worker: Executor | None = None,
    ) -> None:
        self.settings, self.watch = settings or Settings(), watch or Watch()
        self.device, self.budget, self.patience = device, budget, patience
        self.loras, self.filtered = dict(loras or {}), filtered
        self.served = {name: _served(name, source) for name, source in sources.items()}
        for one in self.served.values():
            self._check_size(one.id, one.size)
        self._engines: dict[Key, Engine] = {}
        self._used: dict[Key, float] = {}
        self._sizes: dict[Key, int] = {}
        self._leaving: set[Key] = set()  # models that end what they were given and make room then
        self._rested = asyncio.Event()
        self._worker = worker or ThreadPoolExecutor(1, thread_name_prefix="network")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loading")
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finishing")
        self._loading = asyncio.Lock()
        self._closed: str | None = None

    def of_modality(self, modality: str) -> list[str]:
        """The ids of the models that make such media."""
        return [name for name, one in self.served.items() if one.modality == modality]

    @property
    def fitting(self) -> list[str]:
        """The ids of the first models, as many as fit into memory together."""
        found, total = list[str](), 0
        for one in self.served.values():
            total += one.size
            if self.budget is not None and total > self.budget:
                break
            found.append(one.id)
        return found

    async def engine(
        self, name: str, loras: Sequence[tuple[str, float]] = (), *, fast: bool = False
    ) -> Engine:
        """The engine of a model, which is loaded if need be. KeyError for an id that is not served.

        Busy where the models in memory have too much to do to make room, Draining before the end.

        loras  names of `self.loras` and their weights
        fast   its student samples; MultigenError where it has none
        """
        one, key = self.served[name], (name, tuple(loras), fast)
        if fast and one.fast is None:
            have = ", ".join(other for other, row in self.served.items() if row.fast is not None)
            raise MultigenError(f"fast: {name} has no student. Models with one here: {have or 'none'}.")
        if key not in self._engines or key in self._leaving:
            async with self._loading:
                if key not in self._engines:
                    await self._load(one, key)
        elif not self._loading.locked():
            async with self._loading:
                await self._shed(key)
        self._used[key] = time.monotonic()
        return self._engines[key]

    @property
    def engines(self) -> list[Engine]:
        """Those whose models are in memory."""
        return list(self._engines.values())

    @property
    def weights(self) -> int:
        """Bytes of the weights that are in memory, with the copies that sampling made of them."""
        return sum(self._sizes.values()) + sum(_copied(engine.model) for engine in self._engines.values())

    async def unload(self, key: Key) -> None:
        """Let an engine go, with its model."""
        engine = self._engines.pop(key)
        self._used.pop(key, None)
        self._sizes.pop(key, None)
        await engine.close("the model was unloaded; send it again")
        self.watch.evicted(key[0])

    async def close(self, reason: str) -> None:
        """End all engines; what is under way fails with the reason."""
        self._closed = self._closed or reason
        self._rested.set()
        for engine in self.engines:
            await engine.close(self._closed)
        for pool in (self._worker, self._loader, self._finisher):
            pool.shutdown(wait=False)

    # --- loading ---------------------------------------------------------------------------------------------------

    async def _load(self, one: Served, key: Key) -> None:
        begin = time.monotonic()
        beside = [lora for lora, _ in key[1]] + (["its student"] if key[2] else [])
        name = one.id if not beside else f"{one.id} with {', '.join(beside)}"
        await self._make_room(name, one.size)
        loras = {self.loras[lora]: weight for lora, weight in key[1]}
        loop = asyncio.get_running_loop()
        model = await loop.run_in_executor(
            self._loader, _loaded, one.source, self.device, loras or None, key[2], self.filtered
        )
        # Frozen parts of a pipeline and a LoRA's pairs are in no state_dict, but in the files.
        size = max(sum(t.numel() * t.element_size() for t in model.state_dict().values()), one.size)
        size += model.loras.nbytes
        if size > one.size:
            self._check_size(name, size)
            await self._make_room(name, size)
        self._go_on()
        engine = Engine(
            name, model, self._worker, self.settings, self.watch, self._rested.set, finisher=self._finisher
        )
        engine.start()
        self._engines[key], self._sizes[key] = engine, size
        log.info("%s: loaded in %.1f s, %.0f MB of weights", name, time.monotonic() - begin, size / 1e6)

    async def _make_room(self, name: str, size: int) -> None:
        """Unload models, the least recently used first, until `size` bytes fit; wait where they are in use."""
        until = time.monotonic() + self.patience
        try:
            while self._go_on() and self.budget is not None and self.weights + size > self.budget:
                self._rested.clear()
                least = sorted(self._engines, key=lambda k: self._used.get(k, 0.0))
                idle = [key for key in least if self._engines[key].idle]
                if idle:
                    self._leaving.discard(idle[0])
                    await self.unload(idle[0])
                    continue
                self._leaving.add(least[0])  # what is sent to it now waits behind this
                await asyncio.wait_for(self._rested.wait(), until - time.monotonic())
        except TimeoutError:
            others = ", ".join(engine.name for engine in self.engines)
            text = f"{name}: there is no room for it while others are in use ({others}); try again later"
            raise Busy(text, self.patience) from None
        finally:
            self._leaving.clear()

    async def _shed(self, key: Key) -> None:
        """Unload idle models while more is in memory than may be: copies of weights are made after they are loaded."""
        for other in sorted(self._engines, key=lambda k: self._used.get(k, 0.0)):
            if self.budget is None or self.weights <= self.budget:
                return
            if other != key and other in self._engines and self._engines[other].idle:
                await self.unload(other)

    def _go_on(self) -> bool:
        """Draining where the end has come meanwhile."""
        if self._closed is not None:
            raise Draining(f"nothing new is taken: {self._closed}")
        return True

    def _check_size(self, name: str, size: int) -> None:
        """MultigenError for a model that never fits."""
        if self.budget is not None and size > self.budget:
            raise MultigenError(
                f"{name}: its weights take {size / 1e9:.3g} GB, and the budget is {self.budget / 1e9:.3g} GB; "
                "give a larger --budget, or do not serve it"
            )


def _copied(model: Model) -> int:
    """Bytes of the copies of its weights that a model keeps now."""
    return sum(copied_bytes(module) for module in (model.denoiser, model.codec, model.conditioner))


def _loaded(
    source: str, device: str | None, loras: Mapping[str, float] | None, fast: bool, filtered: bool
) -> Model:
    """A model that is ready for its first prompt.

    What a text encoder imports then is there already: it takes seconds, and makes so many objects that a full
    collection stops the whole process for a fifth of a second. So none runs meanwhile, and what is there now is left
    out of those that follow.
    """
    gc.disable()
    try:
        model = load(source, device=device, loras=loras, fast=fast)
        encode_prompts(model, "")
        model.known_hash()  # files name it
        if filtered:
            model.guard = with_standard(model.guard, model.modality.name)
        _ = model.guard.filters  # what is missing is said now, not at the first request
    finally:
        gc.freeze()
        gc.enable()
    return model


def _served(name: str, source: str) -> Served:
    """A source, without its weights in memory. MultigenError if there is none, or it makes no media."""
    place = locate(source)
    recipe = animated(place.recipe)
    check_combination(recipe)
    if recipe.trains == "codec":
        raise MultigenError(f"{source}: this recipe trains a codec; it makes no media and cannot be served")
    build("modality", recipe.modality, where="modality")
    signer_for(recipe.provenance.sign)  # a certificate that cannot sign is refused now
    return Served(name, source, recipe, expected_bytes(place))
