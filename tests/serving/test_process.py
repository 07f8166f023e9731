"""The process: an end comes at once, whatever is under way."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from tests.serving.hosted import Answer, hosted

MAKE = "/v1/images/generations"
LONG = {"prompt": "3", "steps": 200, "n": 4}


def test_an_end_answers_what_is_under_way_and_does_not_wait_for_it(digits: Path, tmp_path: Path) -> None:
    """Requests, streams, jobs that somebody follows, and one whose client does not read."""
    found: list[Answer] = []
    with hosted(digits, tmp_path) as one:
        bodies = [LONG, LONG, {**LONG, "stream": True, "partial_images": 3}]
        threads = [
            threading.Thread(target=lambda b=b: found.append(one.ask("POST", MAKE, b))) for b in bodies
        ]
        job = one.ask("POST", "/v1/jobs", LONG).json["id"]
        follow = threading.Thread(target=lambda: found.append(one.ask("GET", f"/v1/jobs/{job}/events")))
        for thread in (*threads, follow):
            thread.start()
        body = json.dumps({**LONG, "stream": True, "partial_images": 3}).encode()
        head = f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", one.port)) as deaf:
            deaf.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            (engine,) = one.server.models.engines
            while engine.running + engine.waiting < 5 * 4:
                threads[0].join(0.01)
            one.end()
            for thread in (*threads, follow):
                thread.join(8)  # uvicorn alone would wait 10 s for them
            assert not any(thread.is_alive() for thread in (*threads, follow))
    assert sorted(answer.status for answer in found) == [200, 200, 503, 503]
    for answer in found:
        assert b"the server is ending" in answer.body
    record = json.loads((tmp_path / f"{job}.json").read_text())
    assert (record["status"], record["error"]["code"]) == ("failed", "draining")


@pytest.mark.slow
def test_a_server_begins_and_ends_many_times_with_work_under_way(digits: Path, tmp_path: Path) -> None:
    for k in range(3):
        with hosted(digits, tmp_path) as one:
            names = [one.ask("POST", "/v1/jobs", LONG).json["id"] for _ in range(1 + k)]
        records = [json.loads((tmp_path / f"{name}.json").read_text()) for name in names]
        assert {record["error"]["code"] for record in records} == {"draining"}
