"""32 clients with mixed steps: the server, the same with max_batch=1, and a pipeline behind a lock."""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import multigen
from benchmarks.many import PROMPTS
from benchmarks.serving.servers import Answer, Server, quartiles, row, serving, share, started, together
from multigen.modalities.raster import to_levels

CLIENTS = 32
STEPS = (10, 15, 20, 25, 30)
LEVELS = 1  # of 255 by which a picture may differ from the same made alone, in float32
MODEL = "image_emoji"


def wishes(clients: int) -> list[dict[str, Any]]:
    """What the clients ask for."""
    return [
        {"model": MODEL, "prompt": PROMPTS[k % len(PROMPTS)], "steps": STEPS[k % len(STEPS)], "seed": k}
        for k in range(clients)
    ]


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Rounds of all clients on each server in turn; ratios of neighbouring rounds."""
    asked, rounds = wishes(8 if quick else CLIENTS), 1 if quick else 2
    peer = [sys.executable, "-m", "benchmarks.serving.peer_app", MODEL]
    with ExitStack() as stack:
        servers = {
            "shared": stack.enter_context(serving([MODEL], folder / "shared")),
            "single": stack.enter_context(serving([MODEL], folder / "single", "--max-batch", "1")),
            "peer": stack.enter_context(started(peer, folder / "peer")),
        }
        for server in servers.values():
            for prompt in PROMPTS[:2]:
                server.make(model=MODEL, prompt=prompt, steps=2, seed=0)
        seconds: dict[str, list[float]] = {name: [] for name in servers}
        late: dict[str, list[float]] = {name: [] for name in servers}
        answers: dict[str, list[Answer]] = {}
        for number in range(rounds):
            for name in list(servers)[:: -1 if number % 2 else 1]:
                took, answers[name] = _round(servers[name], asked)
                seconds[name].append(took)
                late[name].append(share([one.seconds for one in answers[name]], 0.95))
                print(f"  {name}: {took:.1f} s, p95 {late[name][-1]:.1f} s", file=sys.stderr, flush=True)
        return [*_ratios(seconds, late, len(asked)), *_shared(servers["shared"]), *_equal(answers, asked)]


def _round(server: Server, asked: Sequence[dict[str, Any]]) -> tuple[float, list[Answer]]:
    begin = time.perf_counter()
    answers = together([lambda wish=wish: server.make(**wish) for wish in asked])
    return time.perf_counter() - begin, answers


def _ratios(
    seconds: dict[str, list[float]], late: dict[str, list[float]], count: int
) -> list[dict[str, Any]]:
    def ratios(a: Sequence[float], b: Sequence[float]) -> list[float]:
        return [x / y for x, y in zip(a, b, strict=True)]

    gain = ratios(seconds["single"], seconds["shared"])
    faster, sooner = ratios(seconds["peer"], seconds["shared"]), ratios(late["shared"], late["peer"])
    middle = statistics.median(gain)
    each = f"{MODEL}, {count} clients, {min(STEPS)} to {max(STEPS)} steps"
    return [
        row(
            f"throughput over max_batch=1: {each}",
            middle,
            "x",
            ">= 1.3",
            met=middle >= 1.3,
            spread=_all(gain),
        ),
        row(f"pictures a second: {each}", count / statistics.median(seconds["shared"]), "1/s"),
        row("throughput over a pipeline behind a lock", statistics.median(faster), "x", spread=_all(faster)),
        row("p95 over that of a pipeline behind a lock", statistics.median(sooner), "x", spread=_all(sooner)),
    ]


def _shared(server: Server) -> list[dict[str, Any]]:
    calls, samples = server.metric("multigen_call_samples_count"), server.metric("multigen_call_samples_sum")
    network, whole = (
        server.metric("multigen_network_seconds_total"),
        server.metric("multigen_call_seconds_total"),
    )
    return [
        row("samples that share a call", samples / calls, ""),
        row("share of the time outside the network", 1 - network / whole, ""),
    ]


def _equal(answers: dict[str, list[Answer]], asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pictures of the full server beside the same alone: from max_batch=1, and some from Python."""
    apart = [
        int(np.abs(levels(a.picture) - levels(b.picture)).max())
        for a, b in zip(answers["shared"], answers["single"], strict=True)
    ]
    model = multigen.load(MODEL, device="cpu")
    for k in range(0, len(asked), 11):
        wish = asked[k]
        (medium,) = model.generate(wish["prompt"], n=1, seed=wish["seed"], steps=wish["steps"])
        apart.append(int(np.abs(levels(answers["shared"][k].picture) - to_levels(medium.tensor)).max()))
    worst = max(apart)
    same = f"{sum(a == 0 for a in apart)} of {len(apart)} without any difference"
    what = "largest difference of a picture from the same made alone"
    return [row(what, worst, "levels of 255", f"<= {LEVELS}", met=worst <= LEVELS, spread=same)]


def levels(file: bytes) -> np.ndarray:
    """A picture's values."""
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture).astype(int)


def _all(values: Sequence[float]) -> str:
    return quartiles(values) if len(values) > 3 else ", ".join(f"{v:.2f}" for v in values)
