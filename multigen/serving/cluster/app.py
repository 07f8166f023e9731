"""The application for those who deploy with Ray's own tools: `import_path: multigen.serving.cluster.app:build`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from ray.serve.deployment import Application

from multigen.serving.cluster.run import application
from multigen.serving.cluster.scaling import Replicas
from multigen.serving.run import Options
from multigen.serving.safety import Choice
from multigen.serving.sources import check_reach


class Arguments(BaseModel):
    """The `args` of a Serve config: what `multigen serve` takes. `replicas` is "2" or "1-4"; see `Options`."""

    model_config = ConfigDict(extra="forbid")

    sources: list[str]
    replicas: str = "1"
    host: str = "127.0.0.1"
    root_path: str = ""
    keys: Path | None = None
    allow_hosts: list[str] = []
    max_batch: int = 16
    max_queue: int = 256
    max_pixels: int = Options.max_pixels
    memory: float | None = None
    budget: float | None = None
    store: str
    lost: float = Options.lost
    ttl: float = 24.0
    store_size: float = 4.0
    loras: Path | None = None
    device: str | None = None
    drain: float = 30.0
    safety: Choice = "auto"
    log_prompts: bool = False
    otlp: str | None = None


def build(arguments: Arguments) -> Application:
    """The application. MultigenError for what cannot be served, or not like that.

    Where Ray listens is its own to say; `host` is that address, by which names are checked and keys are asked for.
    """
    given = arguments.model_dump(exclude={"sources", "replicas"})
    options = Options(**given)
    check_reach(options.host, options.keys)
    return application(arguments.sources, options, Replicas.of(arguments.replicas))
