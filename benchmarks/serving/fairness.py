"""A light user beside a heavy one, and how soon there is something to see."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.serving.servers import PICTURES, Server, row, serving, share

MODEL = "image_emoji"
QUEUED = 100


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Times of the light user's requests alone and beside the other's; then previews."""
    count, steps = 5 if quick else 12, 10
    with serving([MODEL], folder / "fairness") as server:
        _light(server, 2, steps)
        alone = _light(server, count, steps)
        # The heavy one never has fewer than 100 waiting: so many are begun that these are left in the end.
        names = _heavy(server, QUEUED + 16 + 2 * count)
        beside = _light(server, count, steps)
        left = int(server.metric("multigen_queue_media", model=MODEL))
        for name in names:
            server.ask("DELETE", f"/v1/jobs/{name}")
        server.idle()
        times = share(beside, 0.95) / share(alone, 0.95)
        middles = statistics.median(beside) / statistics.median(alone)
        what = f"p95 of a light user beside a heavy one, {left} of whose media still wait at the end"
        said = f"medians {middles:.2f} x; alone {share(alone, 0.95):.2f} s, of {count}"
        rows = [row(what, times, "x of alone", "<= 3", met=times <= 3 and left >= QUEUED, spread=said)]
        return [*rows, *_previews(server, 3 if quick else 10)]


def _light(server: Server, count: int, steps: int) -> list[float]:
    body = {"model": MODEL, "prompt": "red apple", "steps": steps, "user": "light"}
    return [server.make(**body, seed=k).seconds for k in range(count)]


def _heavy(server: Server, count: int) -> list[str]:
    names = []
    for k in range(0, count, 10):
        body = {"model": MODEL, "prompt": "banana", "steps": 20, "user": "heavy", "seed": k, "n": 10}
        answer = server.ask("POST", "/v1/jobs", body)
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {answer.body[:500]!r}")
        names.append(answer.json["id"])
    return names


def _previews(server: Server, count: int) -> list[dict[str, Any]]:
    """Answered queries before the first preview of a job; seconds until the first partial picture of a stream."""
    calls = []
    for k in range(count):
        body = {"model": MODEL, "prompt": "red apple", "steps": 10, "seed": k, "previews": 1 + k % 3}
        name = server.ask("POST", "/v1/jobs", body).json["id"]
        text = server.ask("GET", f"/v1/jobs/{name}/events").body.decode()
        events = [
            json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
        ]
        before = [one["type"] for one in events].index("preview")
        calls.append(max(one["step"] for one in events[:before] if one["type"] == "step"))
    worst = max(calls)
    first = statistics.median(_first_partial(server, k) for k in range(count))
    return [
        row("network calls before the first preview", worst, "calls", "<= 2", met=worst <= 2),
        row("until the first partial picture of a stream", 1000 * first, "ms"),
    ]


def _first_partial(server: Server, seed: int) -> float:
    body = {
        "model": MODEL,
        "prompt": "red apple",
        "steps": 10,
        "seed": seed,
        "stream": True,
        "partial_images": 2,
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    begin = time.perf_counter()
    connection.request("POST", PICTURES, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    line = answer.readline()
    while line and b"partial_image" not in line:
        line = answer.readline()
    seconds = time.perf_counter() - begin
    answer.read()
    connection.close()
    if not line:
        raise RuntimeError("the stream had no partial picture")
    return seconds
