"""What is left after a kill, an orderly end, and clients that go away."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serving.servers import PICTURES, Answer, Server, row, serving

MODEL = "image_digits"


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """A row each."""
    count = 20 if quick else 100
    return [
        _killed(folder / "killed"),
        _drained(folder / "drained"),
        _left(folder / "left", count, "disconnect", _disconnect),
        _left(folder / "cancelled", count, "cancel", _cancel),
    ]


def _killed(folder: Path) -> dict[str, Any]:
    """kill -9 while jobs run; the server that comes after it on the same store knows them all."""
    wrong: list[str] = []
    with serving([MODEL], folder) as server:
        sent = {f"key{k}": server.ask("POST", "/v1/jobs", *_job(k)).json["id"] for k in range(8)}
        done = _until(lambda: _done(server, sent.values()), 3)
        before = {name: _files(server, name) for name in done}
        server.stop(signal.SIGKILL)
    with serving([MODEL], folder) as server:
        states = {name: _state(server, name) for name in sent.values()}
        for name in done:
            if states[name] != "completed" or _files(server, name) != before[name]:
                wrong.append(f"{name}, finished before, is {states[name]} or differs")
        wrong += [
            f"{name} is {state}" for name, state in states.items() if state not in ("completed", "failed")
        ]
        for k, (key, name) in enumerate(sent.items()):
            again = server.ask("POST", "/v1/jobs", *_job(k)).json
            if states[name] == "completed" and again["id"] != name:
                wrong.append(f"{key} was made twice")
        server.idle(120)
    leftovers = [path.name for path in (folder / "store").iterdir() if path.name.startswith(".")]
    wrong += [f"left over: {name}" for name in leftovers]
    ended = sum(state == "failed" for state in states.values())
    said = "; ".join(wrong) or f"{len(done)} finished and are there, {ended} under way say that they failed"
    return row(
        "kill -9: of 8 jobs lost, doubled or broken", len(wrong), "jobs", "0", met=not wrong, spread=said
    )


def _job(k: int) -> tuple[dict[str, Any], dict[str, str]]:
    return {"model": MODEL, "prompt": str(k), "steps": 20 if k < 3 else 200, "seed": k, "n": 2}, {
        "idempotency-key": f"key{k}"
    }


def _drained(folder: Path) -> dict[str, Any]:
    """SIGTERM while short and long requests run: each is answered, whole or with the reason."""
    wrong: list[str] = []
    answers: list[Answer] = []
    with serving([MODEL], folder, "--drain", "8") as server:
        bodies = [
            {"model": MODEL, "prompt": "3", "steps": 5 if k < 8 else 200, "n": 1 if k < 8 else 10}
            for k in range(12)
        ]
        threads = [
            threading.Thread(target=lambda b=body: answers.append(server.ask("POST", PICTURES, b)))
            for body in bodies
        ]
        jobs = [server.ask("POST", "/v1/jobs", *_job(k)).json["id"] for k in range(4)]
        for thread in threads:
            thread.start()
        _until(lambda: list(range(server.busy)), 12)
        code = server.stop()
        for thread in threads:
            thread.join(30)
    wrong += [f"exit code {code}"] * (code != 0)
    wrong += [f"answered {one.status}" for one in answers if one.status not in (200, 503)]
    wrong += [f"{len(bodies) - len(answers)} without an answer"] * (len(answers) != len(bodies))
    with serving([MODEL], folder) as server:
        states = [_state(server, name) for name in jobs]
    wrong += [f"a job is {state}" for state in states if state not in ("completed", "failed")]
    whole = sum(one.status == 200 for one in answers)
    said = (
        "; ".join(wrong)
        or f"{whole} whole, {len(answers) - whole} with the reason; jobs: {', '.join(states)}"
    )
    return row(
        "drain: of 12 requests and 4 jobs without their end", len(wrong), "", "0", met=not wrong, spread=said
    )


def _left(
    folder: Path, count: int, what: str, act: Callable[[Server, int, random.Random], None]
) -> dict[str, Any]:
    """Clients that change their mind: the places are free again and the memory is as before."""
    chance, wrong = random.Random(0), list[str]()
    with serving([MODEL], folder, "--max-queue", "1000") as server:
        for _ in range(2):  # the allocator keeps what the first rounds needed
            _all(server, count, act, chance)
        before = server.memory
        _all(server, count, act, chance)
        took = server.idle()
        begin = time.perf_counter()
        server.make(model=MODEL, prompt="3", steps=10)
        after = server.memory
        growth = after / before - 1
        wrong += [f"memory grew by {growth:.1%}"] * (growth > 0.05)
        wrong += [f"the next request took {time.perf_counter() - begin:.1f} s"] * (
            time.perf_counter() - begin > 10
        )
    said = "; ".join(wrong) or f"places free after {took:.1f} s, memory {growth:+.1%}"
    return row(
        f"{what} x {count}: places leaked, or memory over 5%", len(wrong), "", "0", met=not wrong, spread=said
    )


def _all(
    server: Server, count: int, act: Callable[[Server, int, random.Random], None], chance: random.Random
) -> None:
    threads = [
        threading.Thread(target=act, args=(server, k, random.Random(chance.random()))) for k in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.idle()


def _disconnect(server: Server, k: int, chance: random.Random) -> None:
    body = json.dumps(
        {"model": MODEL, "prompt": "3", "steps": 200, "n": 1 + k % 3, "stream": k % 2 == 0}
    ).encode()
    head = f"POST {PICTURES} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as one:
        one.sendall(head.encode() + body)
        time.sleep(chance.uniform(0.05, 1.0))


def _cancel(server: Server, k: int, chance: random.Random) -> None:
    body = {"model": MODEL, "prompt": "3", "steps": 200, "n": 1 + k % 3}
    name = server.ask("POST", "/v1/jobs", body).json["id"]
    time.sleep(chance.uniform(0.0, 1.0))
    server.ask("DELETE", f"/v1/jobs/{name}")
    server.ask("DELETE", f"/v1/jobs/{name}")  # and its record


def _done(server: Server, names: Any) -> list[str]:
    return [name for name in names if _state(server, name) == "completed"]


def _state(server: Server, name: str) -> str:
    answer = server.ask("GET", f"/v1/jobs/{name}")
    return answer.json["status"] if answer.status == 200 else f"answered with {answer.status}"


def _files(server: Server, name: str) -> list[bytes]:
    """What a job made."""
    rows = server.ask("GET", f"/v1/jobs/{name}").json["data"]
    return [server.ask("GET", row["url"].partition(f":{server.port}")[2]).body for row in rows]


def _until(look: Callable[[], list[Any]], count: int, seconds: float = 120.0) -> list[Any]:
    """What is seen once it is so many. TimeoutError if that does not come."""
    until = time.monotonic() + seconds
    while len(found := look()) < count:
        if time.monotonic() > until:
            raise TimeoutError(f"{len(found)} of {count} after {seconds:.0f} s")
        time.sleep(0.02)
    return found
