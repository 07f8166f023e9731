"""A server in this process, under uvicorn on a free port, with small models."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import uvicorn

from multigen.serving.api.app import create_app
from multigen.serving.api.metrics import Metrics
from multigen.serving.api.sharing import Sharing
from multigen.serving.api.state import Limits, Server
from multigen.serving.engine.models import Models
from multigen.serving.engine.settings import Settings
from multigen.serving.engine.store import Store
from multigen.serving.process import Process
from tests.model.test_model import SMALL, small

LIMITS = Limits(upload=2 << 20, pixels=1_000_000, seconds=30.0, prompt=500, steps=100)


PROMPTS = {"audio_music": ["flute", "organ"], "video_moving_emoji": ["panda", "fish"]}


def saved(name: str, folder: Path) -> str:
    """A small untrained model of a shipped recipe, as a file."""
    prompts = ", ".join(PROMPTS[name])
    overrides = [one for one in SMALL[name] if not one.startswith("conditioner")]
    overrides += [f"conditioner={{name: label, classes: [{prompts}]}}", f"sample.prompts=[{prompts}]"]
    if name == "audio_music":
        overrides += ["codec.vocoder=griffin_lim", "codec.iterations=2"]
    return str(small(name, overrides).save(folder / f"{name}.safetensors"))


@dataclass
class Running:
    """A server that answers, and its loop."""

    url: str
    server: Server
    loop: asyncio.AbstractEventLoop

    def client(self, **more: object) -> openai.OpenAI:
        """The official client, unmodified: only base_url differs."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="x", max_retries=0, timeout=60)

    def aclient(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="x", max_retries=0, timeout=60)

    @property
    def places(self) -> int:
        """Media that wait or are under way, in all models."""
        return sum(engine.waiting + engine.running for engine in self.server.models.engines)


def small_models(folder: Path, digits: str = "digits") -> dict[str, str]:
    """A model of each modality: digits as shipped, by this id, music and moving emoji small and untrained."""
    return {
        digits: "image_digits",
        "music": saved("audio_music", folder),
        "moving": saved("video_moving_emoji", folder),
    }


@contextmanager
def running(
    sources: dict[str, str],
    folder: Path | str,
    *,
    settings: Settings | None = None,
    limits: Limits = LIMITS,
    share: Callable[[Store], Sharing] | None = None,
    loras: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Serve models inside the block. `share`: how with other servers of the store."""
    models = Models(sources, device="cpu", settings=settings, watch=Metrics(), loras=loras)
    store = Store(folder)
    state = Server(models, store, limits, sharing=None if share is None else share(store))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(state), log_level="warning", ws="none", timeout_graceful_shutdown=3
        )
        one = Process(config, state, drain=0.0, first=[])
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            await one.serve([listening])

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        while not one.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            thread.join(0.01)
        try:
            yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", state, loops[0])
        finally:
            one.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
