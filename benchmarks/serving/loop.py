"""How long the event loop stands still while everything is asked of the server at once."""

from __future__ import annotations

import base64
import io
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.serving.servers import PICTURES, Answer, Server, row, serving, share

MODEL = "image_digits"
CLIENTS = 32


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """32 clients: media, previews, uploads, large bodies, jobs, lists, metrics; one more asks /health all the time."""
    with serving([MODEL, "image_emoji"], folder / "loop") as server:
        _run(server, 2)  # what is imported and made at the first request
        server.idle()
        before = _late(server)
        answers = _run(server, 5 if quick else 30)
        after = _late(server)
        server.idle()
    health = [one.seconds for kind, one in answers if kind == "health"]
    broken = sorted(
        {f"{kind} {one.status}" for kind, one in answers if one.status >= 500 and one.status != 503}
    )
    rises = {edge: after[edge] - before[edge] for edge in after}
    total = rises[float("inf")]
    over = total - rises[0.05]
    edge = min(edge for edge, count in rises.items() if count == total)
    said = f"{over:.0f} of {total:.0f} looks over 50 ms" + (
        f"; errors: {', '.join(broken)}" if broken else ""
    )
    met = over == 0 and not broken
    return [
        row(
            f"event loop blocked, {len(answers)} requests of all kinds",
            1000 * edge,
            "ms at most",
            "<= 50",
            met=met,
            spread=said,
        ),
        row(
            "/health meanwhile, p95",
            1000 * share(health, 0.95),
            "ms",
            spread=f"largest {1000 * max(health):.0f}",
        ),
    ]


def _late(server: Server) -> dict[float, float]:
    """How often the loop was at most so late, by s."""
    return {float(labels["le"]): value for labels, value in server.series("multigen_loop_lag_seconds_bucket")}


def _run(server: Server, seconds: float) -> list[tuple[str, Answer]]:
    kinds = _kinds(server)
    found: list[tuple[str, Answer]] = []
    until = time.monotonic() + seconds

    def client(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < until:
            kind = "health" if number == 0 else chance.choice(list(kinds))
            found.append((kind, kinds[kind]() if kind in kinds else server.ask("GET", "/health")))
            if number == 0:
                time.sleep(0.02)

    threads = [threading.Thread(target=client, args=(k,)) for k in range(CLIENTS + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _kinds(server: Server) -> dict[str, Callable[[], Answer]]:
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="PNG")
    large = file.getvalue()
    digit = {"model": MODEL, "prompt": "3", "steps": 5}
    edit = {"media": base64.b64encode(large).decode("ascii"), "strength": 0.5}
    return {
        "picture": lambda: server.ask("POST", PICTURES, digit),
        "ten": lambda: server.ask("POST", PICTURES, {**digit, "n": 10}),
        "stream": lambda: server.ask("POST", PICTURES, {**digit, "stream": True, "partial_images": 3}),
        "emoji": lambda: server.ask(
            "POST", PICTURES, {"model": "image_emoji", "prompt": "banana", "steps": 2}
        ),
        "upload": lambda: _upload(server, large),
        "body": lambda: server.ask("POST", "/v1/jobs", {**digit, "edit": edit}),
        "long": lambda: server.ask("POST", PICTURES, {**digit, "prompt": "x" * 4_000_000}),
        "deep": lambda: server.ask("POST", PICTURES, b"[" * 500_000),
        "job": lambda: server.ask("POST", "/v1/jobs", {**digit, "previews": 2}),
        "models": lambda: server.ask("GET", "/v1/models"),
        "videos": lambda: server.ask("GET", "/v1/videos"),
        "openapi": lambda: server.ask("GET", "/openapi.json"),
        "metrics": lambda: server.ask("GET", "/metrics"),
    }


def _upload(server: Server, file: bytes) -> Answer:
    edge = "xxedgexx"
    members = {"model": MODEL, "prompt": "3", "steps": "5"}
    parts = [
        f'--{edge}\r\ncontent-disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
        for k, v in members.items()
    ]
    head = f'--{edge}\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.encode()
    body = b"".join(parts) + head + file + f"\r\n--{edge}--\r\n".encode()
    return server.ask(
        "POST", "/v1/images/edits", body, {"content-type": f"multipart/form-data; boundary={edge}"}
    )
