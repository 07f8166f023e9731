"""Servers of a process each, and clients over real sockets."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

PICTURES = "/v1/images/generations"
PATIENCE = 600.0  # s for one answer


class Answer(NamedTuple):
    """An answer, read whole; `seconds` from the request to its end."""

    status: int
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def picture(self) -> bytes:
        """The first picture's file."""
        return base64.b64decode(self.json["data"][0]["b64_json"])


@dataclass(eq=False)
class Server:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = PATIENCE,
    ) -> Answer:
        """Send a request on a connection of its own; a body is JSON unless it is bytes."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, sent, {**kind, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), time.perf_counter() - begin)
        finally:
            connection.close()

    def make(self, **body: object) -> Answer:
        """A picture. RuntimeError if there is none."""
        answer = self.ask("POST", PICTURES, body)
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.body[:500]!r}")
        return answer

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        return sum(value for given, value in self.series(name) if labels.items() <= given.items())

    def series(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values of a metric."""
        text = self.ask("GET", "/metrics").body.decode()
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        ]

    @property
    def busy(self) -> int:
        """Media that wait or are under way."""
        found = self.ask("GET", "/ready").json
        return found["waiting"] + found["running"]

    def idle(self, seconds: float = 60.0) -> float:
        """Wait until nothing is under way; s that it took. TimeoutError if that does not come."""
        begin = time.monotonic()
        while self.busy:
            if time.monotonic() - begin > seconds:
                raise TimeoutError(f"{self.busy} media are still there after {seconds:.0f} s")
            time.sleep(0.05)
        return time.monotonic() - begin

    @property
    def memory(self) -> int:
        """Bytes of the process and those that it has started; what they share counts once."""
        one = psutil.Process(self.process.pid)
        return sum(_pages(p) for p in (one, *one.children(recursive=True)))

    def stop(self, sign: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@contextmanager
def serving(sources: Sequence[str], folder: Path, *options: str) -> Iterator[Server]:
    """`multigen serve`, ready, inside the block; what it stores lies in the folder."""
    argv = [
        sys.executable,
        "-m",
        "multigen",
        "serve",
        *sources,
        "--port",
        "0",
        "--store",
        str(folder / "store"),
    ]
    with started([*argv, *options], folder) as one:
        yield one


@contextmanager
def started(argv: Sequence[str], folder: Path) -> Iterator[Server]:
    """A command that prints `NAME: http://HOST:PORT` and answers /ready, inside the block."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("a") as errors:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ})
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if ": http://" not in line:
            raise RuntimeError(f"{' '.join(argv)}: {log.read_text()[-2000:]}")
        one = Server(process, int(line.strip().rpartition(":")[2]), log)
        _ready(one)
        yield one
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def together(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """The answers of requests that are sent at once, a client each."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [one.result() for one in [pool.submit(call) for call in calls]]


def share(values: Sequence[float], of: float) -> float:
    """The smallest value that such a share of all does not exceed."""
    rows = sorted(values)
    return rows[min(int(of * len(rows)), len(rows) - 1)]


def row(
    what: str, figure: float | str, unit: str, bar: str = "", *, met: bool | None = None, spread: str = ""
) -> dict[str, Any]:
    """One line of the table."""
    verdict = "" if met is None else "met" if met else "MISSED"
    print(
        f"  {what}: {_short(figure)} {unit} {f'(bar {bar}) ' if bar else ''}{verdict} {spread}",
        file=sys.stderr,
        flush=True,
    )
    return {"what": what, "figure": figure, "unit": unit, "bar": bar, "verdict": verdict, "spread": spread}


def quartiles(values: Sequence[float], form: str = "{:.3g}") -> str:
    """Where the middle half of some values lies."""
    if len(values) < 2:
        return ""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{form.format(low)} to {form.format(high)} of {len(values)}"


def _pages(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:  # it has ended meanwhile
        return 0


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _ready(one: Server, seconds: float = 180.0) -> None:
    until = time.monotonic() + seconds
    while one.process.poll() is None and time.monotonic() < until:
        if one.ask("GET", "/ready").status == 200:
            return
        time.sleep(0.1)
    raise RuntimeError(f"it is not ready: {one.log.read_text()[-2000:]}")
