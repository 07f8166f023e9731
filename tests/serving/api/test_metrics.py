"""/metrics tells what has happened: known traffic, and what is counted of it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from multigen.serving.api.metrics import LAGS, Metrics, range_of
from multigen.serving.engine.models import Models
from tests.serving.hosted import Hosted, hosted

MAKE = "/v1/images/generations"
Labels = dict[str, str]


@pytest.fixture
def one(digits: Path, tmp_path: Path) -> Iterator[Hosted]:
    """A server that has answered nothing yet."""
    with hosted(digits, tmp_path, max_queue=4) as server:
        yield server


def read(text: bytes) -> dict[str, list[tuple[Labels, float]]]:
    """Labels and values by name, read by Prometheus' own parser."""
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def samples(server: Hosted) -> dict[str, list[tuple[Labels, float]]]:
    """What a server exposes."""
    return read(server.ask("GET", "/metrics").body)


def value(found: dict[str, list[tuple[Labels, float]]], name: str, **labels: str) -> float:
    """The sum over the series of a name that have these labels."""
    return sum(v for given, v in found[name] if labels.items() <= given.items())


def make(server: Hosted, steps: int = 2, n: int = 1, **more: object) -> int:
    return server.ask("POST", MAKE, {"prompt": "3", "steps": steps, "n": n, **more}).status


def test_known_traffic_is_counted(one: Hosted) -> None:
    begun = time.monotonic()
    assert [make(one), make(one, 3, 2, sampler="heun"), make(one, 12)] == [200] * 3
    assert make(one, 0) == 400
    one.quiet()
    took, found = time.monotonic() - begun, samples(one)
    assert value(found, "multigen_requests_total", route=MAKE, method="POST", code="200") == 3
    assert value(found, "multigen_requests_total", route=MAKE, method="POST", code="400") == 1
    assert value(found, "multigen_request_seconds_count", route=MAKE) == 4
    assert 0 < value(found, "multigen_request_seconds_sum", route=MAKE) <= took
    # Four media: steps are those of the sampler, not what it asks of the network (two of Heun's each).
    assert value(found, "multigen_medium_seconds_count", model="digits", steps="1-10") == 3
    assert value(found, "multigen_medium_seconds_count", model="digits", steps="11-20") == 1
    assert 0 < value(found, "multigen_medium_seconds_sum") <= 2 * took
    assert value(found, "multigen_queue_wait_seconds_count", model="digits") == 3
    calls, shared = value(found, "multigen_call_samples_count"), value(found, "multigen_call_samples_sum")
    assert calls < shared and value(found, "multigen_call_samples_bucket", le="2.0") == calls
    network, whole = (
        value(found, "multigen_network_seconds_total"),
        value(found, "multigen_call_seconds_total"),
    )
    assert 0 < network < whole <= took
    for name in ("queue_media", "running_media", "cancelled_total", "evicted_total"):
        assert value(found, f"multigen_{name}", model="digits") == 0
    assert value(found, "multigen_models_loaded") == value(found, "multigen_ready") == 1
    assert value(found, "multigen_queue_limit_media") == 4
    assert (
        value(found, "multigen_memory_bytes", kind="resident")
        > value(found, "multigen_memory_bytes", kind="weights")
        > 10_000
    )


def test_routes_are_templates_and_labels_are_few(one: Hosted) -> None:
    """Nothing that a client makes up becomes a series."""
    samples(one)  # has a series of its own
    before = {name: len(rows) for name, rows in samples(one).items()}
    for k in range(30):
        one.ask("GET", f"/v1/jobs/job_{k:08}")
        one.ask("GET", f"/v1/made/up/{k}")
        one.ask(f"METHOD{k}", "/v1/models")
        one.ask("GET", f"/{k}.css?secret={k}")
        make(one, user=f"u{k}", model=f"m{k}")
    found = samples(one)
    requests = {(row["route"], row["method"], row["code"]) for row, _ in found["multigen_requests_total"]}
    assert {
        ("/v1/jobs/{name}", "GET", "404"), (MAKE, "POST", "404"), ("other", "GET", "404"),
    } <= requests  # fmt: skip
    assert not any(c in json.dumps(sorted(requests)) for c in ("METHOD", "secret", "made"))
    assert value(found, "multigen_requests_total", code="404", route="/v1/jobs/{name}") == 30
    assert value(found, "multigen_requests_total", method="other") == 30
    more = {name: len(rows) - before.get(name, 0) for name, rows in found.items()}
    assert max(more.values()) <= 8 * 16  # buckets of a few routes
    assert more["multigen_requests_total"] <= 8
    assert {range_of(steps) for steps in range(1, 10_000)} == {
        "1-10", "11-20", "21-30", "31-50", "51-100", "101+",
    }  # fmt: skip


def test_queues_cancels_refusals_and_failures(one: Hosted) -> None:
    """Five requests of four long media: four run, one waits; then the clients go, and a deadline passes."""
    body = json.dumps({"prompt": "3", "steps": 200, "n": 4, "user": "a"}).encode()
    head = f"POST {MAKE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    sent = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    gone: list[socket.socket] = []
    for running, waiting in ((4, 0), (8, 0), (12, 0), (16, 0), (16, 4)):
        gone.append(socket.create_connection(("127.0.0.1", one.port)))
        gone[-1].sendall(sent)
        until = time.monotonic() + 10
        while not (
            value(found := samples(one), "multigen_queue_media", model="digits") == waiting
            and value(found, "multigen_running_media", model="digits") == running
        ):
            assert time.monotonic() < until
    assert make(one, 200) == 429
    for client in gone:
        client.close()
    one.quiet()
    assert make(one, 200, deadline=0.05) == 504
    one.quiet()
    found = samples(one)
    assert value(found, "multigen_queue_media") == value(found, "multigen_running_media") == 0
    assert value(found, "multigen_cancelled_total", model="digits") == 5
    assert value(found, "multigen_failed_total", model="digits", reason="deadline") == 1
    assert value(found, "multigen_requests_total", route=MAKE, code="429") == 1


def test_a_blocked_loop_is_seen(one: Hosted) -> None:
    async def block() -> None:
        time.sleep(0.3)

    asyncio.run_coroutine_threadsafe(block(), one.loop).result(5)
    time.sleep(0.1)
    found = samples(one)
    assert value(found, "multigen_loop_lag_max_seconds") >= 0.25
    late = value(found, "multigen_loop_lag_seconds_count") - value(
        found, "multigen_loop_lag_seconds_bucket", le="0.25"
    )
    assert late >= 1 and 0.05 in LAGS  # the bar has a bucket of its own


def test_health_and_ready(one: Hosted) -> None:
    assert one.ask("GET", "/health").json == {"status": "ok"}
    assert one.ask("GET", "/ready").json == {"status": "ready", "waiting": 0, "running": 0}
    one.server.loading = True
    assert one.ask("GET", "/ready").status == 503 and one.ask("GET", "/health").status == 200
    assert value(samples(one), "multigen_ready") == 0


def test_evictions_are_counted_and_memory_follows(digits: Path) -> None:
    """Of two models one fits: the other goes."""
    watch = Metrics()

    async def both() -> Models:
        size = digits.stat().st_size
        models = Models(
            {"a": str(digits), "b": str(digits)}, watch=watch, device="cpu", budget=int(1.5 * size)
        )
        for name in ("a", "b"):
            await models.engine(name)
        await models.close("the end")
        return models

    found = read(watch.text(asyncio.run(both()), ready=True))
    assert value(found, "multigen_evicted_total", model="a") == 1
    assert value(found, "multigen_evicted_total", model="b") == 0
    assert value(found, "multigen_models_loaded") == 1
