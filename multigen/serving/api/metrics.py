"""Metrics for Prometheus: what the engine and the guard tell, in a registry of this server's own."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from multigen.serving.engine.models import Models
from multigen.serving.engine.watch import Watch

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
SAMPLES = (1, 2, 4, 8, 16, 32, 64)
# Steps are told in ranges: a label for each number would let clients make as many series as they like.
STEPS = (10, 20, 30, 50, 100)
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class Metrics(Watch):
    """Counters, gauges and histograms of one server."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.registry = to = CollectorRegistry()
        by = ("model",)

        def counter(name: str, about: str, labels: Sequence[str] = by) -> Counter:
            return Counter(f"multigen_{name}", about, labels, registry=to)

        def gauge(name: str, about: str, labels: Sequence[str] = by) -> Gauge:
            return Gauge(f"multigen_{name}", about, labels, registry=to)

        def histogram(
            name: str, about: str, labels: Sequence[str] = by, buckets: Sequence[float] = SECONDS
        ) -> Histogram:
            return Histogram(f"multigen_{name}", about, labels, buckets=buckets, registry=to)

        self._requests = counter("requests", "Answers by route, method, status", ("route", "method", "code"))
        self._answers = histogram("request_seconds", "From a request to the end of its answer", ("route",))
        self._queue = gauge("queue_media", "Media that wait")
        self._running = gauge("running_media", "Media under way")
        self._wait = histogram("queue_wait_seconds", "Time that a request waited")
        self._batch = histogram("call_samples", "Samples that shared a network call", buckets=SAMPLES)
        self._calls = counter("call_seconds", "Time of calls with all around them")
        self._networks = counter("network_seconds", "Time of calls in the network alone")
        self._seconds = histogram(
            "medium_seconds", "From the begin of a medium to its end", ("model", "steps")
        )
        self._cancelled = counter("cancelled", "Requests that clients cancelled or went away from")
        self._failed = counter("failed", "Requests that were accepted and failed", ("model", "reason"))
        self._evicted = counter("evicted", "Models that were unloaded to make room")
        self._memory = gauge("memory_bytes", "Memory by kind", ("kind",))
        self._loaded = gauge("models_loaded", "Models in memory", ())
        self._limit = gauge("queue_limit_media", "Most media that may wait for a model", ())
        self._ready = gauge("ready", "1: requests should be sent here; 0: it loads or is about to end", ())
        self._lag = histogram(
            "loop_lag_seconds", "How late the event loop came to what was due", (), buckets=LAGS
        )
        self._worst = gauge("loop_lag_max_seconds", "The largest of these since the start", ())
        self._largest = 0.0

    def waited(self, model: str, seconds: float) -> None:
        """A request began after so long in the queue."""
        self._wait.labels(_base(model)).observe(seconds)

    def called(self, model: str, samples: int, seconds: float, network: float) -> None:
        """A network call."""
        super().called(model, samples, seconds, network)
        name = _base(model)
        self._batch.labels(name).observe(samples)
        self._calls.labels(name).inc(seconds)
        self._networks.labels(name).inc(network)

    def made(self, model: str, seconds: float, steps: int) -> None:
        """A medium was made."""
        super().made(model, seconds, steps)
        self._seconds.labels(_base(model), range_of(steps)).observe(seconds)

    def ended(self, model: str, reason: str) -> None:
        """A ticket ended early."""
        if reason == "client":
            self._cancelled.labels(_base(model)).inc()
        else:
            self._failed.labels(_base(model), reason).inc()

    def evicted(self, model: str) -> None:
        """A model was unloaded."""
        self._evicted.labels(_base(model)).inc()

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        """A request was answered; code 0: its client had gone."""
        known = method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH") else "other"
        self._requests.labels(route, known, str(code or 499)).inc()
        self._answers.labels(route).observe(seconds)

    def lagged(self, seconds: float) -> None:
        """The event loop came late."""
        self._lag.observe(seconds)
        self._largest = max(self._largest, seconds)

    def text(self, models: Models, *, ready: bool) -> bytes:
        """All of it, as Prometheus reads it."""
        for name in models.served:
            engines = [one for one in models.engines if _base(one.name) == name]
            self._queue.labels(name).set(sum(one.waiting for one in engines))
            self._running.labels(name).set(sum(one.running for one in engines))
            # There from the beginning: the first increase of a counter that was not is none for Prometheus.
            for one in (self._cancelled, self._evicted, self._calls, self._networks):
                one.labels(name)
        self._loaded.set(len(models.engines))
        self._limit.set(models.settings.max_queue)
        self._ready.set(ready)
        self._worst.set(self._largest)
        self._memory.labels("resident").set(psutil.Process().memory_info().rss)
        self._memory.labels("weights").set(models.weights)
        if torch.cuda.is_available():
            self._memory.labels("device").set(torch.cuda.memory_allocated())
        return generate_latest(self.registry)


def range_of(steps: int) -> str:
    """The range that a number of steps lies in."""
    low = 1
    for high in STEPS:
        if steps <= high:
            return f"{low}-{high}"
        low = high + 1
    return f"{low}+"


def _base(model: str) -> str:
    """The id of a model, without the LoRAs beside it: clients choose those."""
    return model.partition(" with ")[0]
