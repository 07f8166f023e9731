"""Hours of traffic at 80% of what the server can do: memory stays flat."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serving.servers import PICTURES, Server, row, serving, share

MODELS = (("image_digits", "3", 5), ("image_emoji", "red apple", 2))
LOAD = 0.8


def measure(folder: Path, quick: bool, minutes: float = 10.0) -> list[dict[str, Any]]:
    """Capacity first, then requests at random moments at 80% of it; memory of the second quarter and of the last."""
    minutes = 1.0 if quick else minutes
    with serving([name for name, *_ in MODELS], folder / "soak", "--store-size", "0.05") as server:
        _closed(server, 5)
        rate = LOAD * _closed(server, 10 if quick else 30)
        memory, seconds, refused, count = _open(server, rate, 60 * minutes)
        server.idle(120)
    quarter = len(memory) // 4
    early, last = statistics.median(memory[quarter : 2 * quarter]), statistics.median(memory[-quarter:])
    growth = 100 * (last / early - 1)
    what = f"memory after {minutes:g} minutes at 80% load, {count} requests at {rate:.1f} a second"
    said = f"{early / 2**20:.0f} to {last / 2**20:.0f} MiB, largest {max(memory) / 2**20:.0f}"
    return [
        row(what, growth, "% of growth", "<= 3", met=growth <= 3 and refused == 0, spread=said),
        row("soak: p95 of answers", share(seconds, 0.95), "s", spread=f"{refused} not answered with 200"),
    ]


def _wish(chance: random.Random) -> dict[str, Any]:
    name, prompt, steps = chance.choices(MODELS, (4, 1))[0]
    body = {
        "model": name,
        "prompt": prompt,
        "steps": chance.randint(1, 2 * steps),
        "user": f"u{chance.randrange(50)}",
    }
    more = chance.choice(
        ({}, {"n": 3}, {"stream": True, "partial_images": 2}, {"response_format": "url"}, {}, {})
    )
    return {**body, **more}


def _closed(server: Server, seconds: float) -> float:
    """Requests a second of 16 clients who wait for their answers."""
    until, count = time.monotonic() + seconds, [0] * 16

    def client(k: int) -> None:
        chance = random.Random(k)
        while time.monotonic() < until:
            server.ask("POST", PICTURES, _wish(chance))
            count[k] += 1

    begin = time.monotonic()
    _join([lambda k=k: client(k) for k in range(len(count))])
    return sum(count) / (time.monotonic() - begin)


def _open(server: Server, rate: float, seconds: float) -> tuple[list[int], list[float], int, int]:
    """Requests that do not wait for one another; memory once a second, times, how many failed, how many there were."""
    chance, memory, taken, refused = random.Random(1), list[int](), list[float](), list[int]()
    threads: list[threading.Thread] = []

    def one(body: dict[str, Any], gone: bool) -> None:
        try:
            answer = server.ask("POST", PICTURES, body, seconds=0.2 if gone else 120.0)
        except OSError:
            if not gone:
                refused.append(0)
            return
        taken.append(answer.seconds)
        if answer.status != 200:
            refused.append(answer.status)

    begin = time.monotonic()
    due, looked, count = begin, begin, 0
    while time.monotonic() < begin + seconds:
        if time.monotonic() >= due:
            # One client in twenty goes away.
            threads.append(threading.Thread(target=one, args=(_wish(chance), chance.random() < 0.05)))
            threads[-1].start()
            count += 1
            due += chance.expovariate(rate)
            threads = [thread for thread in threads if thread.is_alive()]
        if time.monotonic() >= looked:
            memory.append(server.memory)
            looked += 1
        time.sleep(max(min(due, looked) - time.monotonic(), 0))
    for thread in threads:
        thread.join()
    return memory, taken, len(refused), count


def _join(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
