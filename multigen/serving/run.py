"""Serve models over HTTP: what `multigen serve` does."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import uvicorn
from fastapi import FastAPI

from multigen.device import choose_device
from multigen.errors import MultigenError
from multigen.marks.media import key_for
from multigen.modalities.allocator import share_memory
from multigen.serving.api.app import create_app
from multigen.serving.api.metrics import Metrics
from multigen.serving.api.sharing import Sharing
from multigen.serving.api.state import Limits, Server
from multigen.serving.engine.models import Models
from multigen.serving.engine.settings import Settings
from multigen.serving.engine.store import Store
from multigen.serving.engine.threads import network_thread
from multigen.serving.guard.guard import Rules
from multigen.serving.guard.hosts import hosts_of
from multigen.serving.guard.keys import Keys
from multigen.serving.logs import show_logs
from multigen.serving.process import ANSWERS, Process, share_interpreter
from multigen.serving.protocol import HEAD_BYTES, Protocol
from multigen.serving.safety import Choice, check_filters, is_filtered, is_reached, unfiltered
from multigen.serving.sources import check_reach, named
from multigen.serving.tracing import tracing_of
from multigen.storage.cache_folder import cache_folder

log = logging.getLogger(__name__)

GB = 10**9
CONNECTIONS = 512  # open at once; more are refused
# Of the free memory: what weights may take, and what calls may take of the rest.
WEIGHTS, CALLS = 0.5, 0.7


@dataclass(frozen=True)
class Options:
    """How a server runs. Memory, budget and store_size are in GB (10^9 bytes).

    host, port   where it listens; beyond this machine only with keys
    root_path    what a proxy puts in front of its paths
    keys         a file of keys; None: everybody on this machine
    allow_hosts  names that it answers to beside its own
    max_batch    most media that share a network call
    max_queue    most media that wait for a model
    max_pixels   of a picture, or of all frames of a clip, that is uploaded
    memory       of the samples in network calls; None: 70% of what the weights leave free
    budget       of the weights in memory; None: half of what is free, and no less than a model alone takes
    store        of results: a folder, or the address of a bucket; None: in the cache
    shared       whether other servers use the store too: each goes on with what another left
    lost         s of silence after which another server's jobs are taken over
    ttl          h for which results are kept
    store_size   of all results
    loras        folder of LoRAs that clients may name
    device       of the models
    drain        s that running requests have to end after SIGTERM
    safety       whether prompts and media are filtered beside what recipes say: "on", "off", or "auto"
    log_prompts  whether the log keeps prompts
    otlp         address of a collector of traces; None: OTEL_EXPORTER_OTLP_ENDPOINT, or no traces
    """

    host: str = "127.0.0.1"
    port: int = 8000
    root_path: str = ""
    keys: Path | None = None
    allow_hosts: Sequence[str] = ()
    max_batch: int = 16
    max_queue: int = 256
    max_pixels: int = Limits.pixels
    memory: float | None = None
    budget: float | None = None
    store: Path | str | None = None
    shared: bool = False
    lost: float = 15.0
    ttl: float = 24.0
    store_size: float = 4.0
    loras: Path | None = None
    device: str | None = None
    drain: float = 30.0
    safety: Choice = "auto"
    log_prompts: bool = False
    otlp: str | None = None


def serve(sources: Sequence[str], options: Options | None = None, *, open_page: bool = False) -> None:
    """Serve until a signal comes. MultigenError for what cannot be served, or not like that."""
    o = options or Options()
    check_reach(o.host, o.keys)
    share_memory()
    share_interpreter()
    server, rules = server_of(sources, o), rules_of(o)
    tracing = tracing_of(o.otlp)
    app = create_app(server, root_path=root_of(o.root_path), rules=rules, tracing=tracing)
    listening = _listen(o.host, o.port)
    address = f"http://{shown_host(o.host)}:{listening.getsockname()[1]}{root_of(o.root_path)}"
    show_logs()
    if said := unfiltered(o.host, o.allow_hosts, o.safety):
        log.warning("%s", said)
    process = Process(
        config_of(app),
        server,
        drain=o.drain,
        first=server.models.fitting,
        opened=f"{address}/" if open_page else None,
    )
    print(f"multigen: {address}", flush=True)
    process.run(sockets=[listening])
    if process.failure is not None:
        raise process.failure


def config_of(app: FastAPI) -> uvicorn.Config:
    """How uvicorn runs an app: nothing of a connection is unbounded."""
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=ANSWERS,
    )


def server_of(sources: Sequence[str], options: Options, *, own: frozenset[str] | None = None) -> Server:
    """The server of some sources: nothing listens yet, and no weights are read. `own`: the models it makes media of."""
    free = _free(choose_device(options.device))
    models = Models(
        named(sources),
        watch=Metrics(),
        device=options.device,
        budget=None if options.budget is None else int(options.budget * GB),
        loras={} if options.loras is None else loras_in(options.loras),
        filtered=is_filtered(options.host, options.allow_hosts, options.safety),
        worker=network_thread(),
    )
    made = {one.recipe.makes for one in models.served.values()}
    check_filters(made, options.host, options.allow_hosts, options.safety)
    sizes = [one.size for one in models.served.values()]
    if models.budget is None:
        models.budget = int(max(WEIGHTS * free, 1.5 * max(sizes)))  # the largest with LoRAs beside it
    left = max(free - min(models.budget, sum(sizes)), 0)
    memory = CALLS * left if options.memory is None else options.memory * GB
    public = is_reached(options.host, options.allow_hosts)
    for one in models.served.values():
        key_for(
            one.recipe.watermark, public=public
        )  # a key that cannot be had is said before anything is made
    models.settings = Settings(options.max_batch, options.max_queue, int(memory), public)
    place = cache_folder("served") if options.store is None else options.store
    store = Store(place, ttl=options.ttl * 3600, limit=int(options.store_size * GB))
    sharing = Sharing(store, lost=options.lost) if options.shared else None
    return Server(models, store, Limits(pixels=options.max_pixels), sharing=sharing, own=own, loading=True)


def rules_of(options: Options) -> Rules:
    """What the guard asks for."""
    keys = None if options.keys is None else Keys(options.keys)
    return Rules(
        hosts=hosts_of(options.host, options.allow_hosts), keys=keys, log_prompts=options.log_prompts
    )


def loras_in(folder: Path) -> Mapping[str, str]:
    """LoRAs of a folder by their names: safetensors files and run folders. MultigenError if there is no folder."""
    if not folder.is_dir():
        raise MultigenError(f"--loras {folder}: there is no such folder")
    files = {path.stem: str(path) for path in sorted(folder.glob("*.safetensors"))}
    runs = {path.parent.name: str(path.parent) for path in sorted(folder.glob("*/recipe.yaml"))}
    return {**runs, **files}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise MultigenError(f"--host {host} --port {port}: cannot listen there ({error})") from None


def shown_host(host: str) -> str:
    """A host as it stands in an address."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"[{host}]" if ":" in host else host


def root_of(path: str) -> str:
    """A prefix of paths: /a/b, or ""."""
    return f"/{path.strip('/')}" if path.strip("/") else ""


def _free(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
