"""The models of a server: loaded when they are asked for, the least recently used ones unloaded to make room."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from multigen.errors import MultigenError
from multigen.model.compatibility import check_combination
from multigen.model.load import load
from multigen.model.model import Model
from multigen.model.source import find_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import build
from multigen.serving.engine.engine import Engine, Settings
from multigen.serving.engine.watch import Watch

log = logging.getLogger(__name__)

# An engine's model: its id, and the names and weights of the LoRAs beside it.
Key = tuple[str, tuple[tuple[str, float], ...]]


@dataclass(frozen=True)
class Served:
    """A model that a server offers: its id, where it is loaded from, and what its recipe says."""

    id: str
    source: str
    recipe: Recipe
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def modality(self) -> str:
        """The name of its modality."""
        return self.recipe.modality.name


class Models:
    """Engines by the id of their model and the LoRAs beside it.

    budget  bytes of weights that may be in memory; what does not fit makes the least recently used idle model go.
            None: no bound

    All networks run in one worker thread: they share the machine's cores, and take turns by call.
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
    ) -> None:
        self.settings, self.watch, self.device, self.budget = (
            settings or Settings(),
            watch or Watch(),
            device,
            budget,
        )
        self.loras = dict(loras or {})
        self.served = {name: _served(name, source) for name, source in sources.items()}
        self._engines: dict[Key, Engine] = {}
        self._used: dict[Key, float] = {}
        self._sizes: dict[Key, int] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._loading = asyncio.Lock()
        self.closing = False

    def of_modality(self, modality: str) -> list[str]:
        """The ids of the models that make such media."""
        return [name for name, one in self.served.items() if one.modality == modality]

    async def engine(self, name: str, loras: Sequence[tuple[str, float]] = ()) -> Engine:
        """The engine of a model, which is loaded if need be. KeyError for an id that is not served.

        loras  names of `self.loras` and their weights
        """
        one, key = self.served[name], (name, tuple(loras))
        if key not in self._engines:
            async with self._loading:
                if key not in self._engines:
                    await self._load(one, key)
        self._used[key] = time.monotonic()
        return self._engines[key]

    @property
    def engines(self) -> list[Engine]:
        """Those whose models are in memory."""
        return list(self._engines.values())

    @property
    def weights(self) -> int:
        """Bytes of the weights that are in memory."""
        return sum(self._sizes.values())

    async def unload(self, key: Key) -> None:
        """Let an engine go, with its model."""
        engine = self._engines.pop(key)
        self._used.pop(key, None)
        self._sizes.pop(key, None)
        await engine.close("the model was unloaded")
        self.watch.evicted(key[0])
        gc.collect()

    async def close(self, reason: str) -> None:
        """End all engines; what is under way fails with the reason."""
        self.closing = True
        for engine in self.engines:
            await engine.close(reason)
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _load(self, one: Served, key: Key) -> None:
        begin = time.monotonic()
        loras = {self.loras[name]: weight for name, weight in key[1]}

        def made() -> Model:
            return load(one.source, device=self.device, loras=loras or None)

        model = await asyncio.get_running_loop().run_in_executor(self._worker, made)
        size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
        await self._make_room(size)
        name = one.id if not key[1] else f"{one.id} with {', '.join(lora for lora, _ in key[1])}"
        engine = Engine(name, model, self._worker, self.settings, self.watch)
        engine.start()
        self._engines[key], self._sizes[key] = engine, size
        log.info("%s: loaded in %.1f s, %.0f MB of weights", name, time.monotonic() - begin, size / 1e6)

    async def _make_room(self, size: int) -> None:
        """Unload idle models, the least recently used first, until `size` bytes fit."""
        if self.budget is None:
            return
        for key in sorted(self._engines, key=lambda k: self._used.get(k, 0.0)):
            if sum(self._sizes.values()) + size <= self.budget:
                return
            if self._engines[key].idle:
                await self.unload(key)


def _served(name: str, source: str) -> Served:
    """A source, without its weights in memory. MultigenError if there is none, or it makes no media."""
    recipe = find_recipe(source)
    check_combination(recipe)
    if recipe.trains == "codec":
        raise MultigenError(f"{source}: this recipe trains a codec; it makes no media and cannot be served")
    build("modality", recipe.modality, where="modality")
    return Served(name, source, recipe)
