"""A server on a small untrained model, in a thread of the test and on a real port."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multigen.serving.api.app import create_app
from multigen.serving.api.state import Server
from multigen.serving.process import Process
from multigen.serving.run import Options, config_of, rules_of, server_of
from multigen.serving.tracing import Tracing
from tests.model.test_model import small


def weights(folder: Path) -> Path:
    """A weights file of a small network for digits."""
    return small("image_digits").save(folder / "digits.safetensors")


@dataclass(frozen=True)
class Hosted:
    """A server that runs."""

    server: Server
    port: int
    loop: asyncio.AbstractEventLoop
    process: Process

    def end(self) -> None:
        """Begin to end, as after a signal that drains nothing."""
        self.process.should_exit = True

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request on a connection of its own; a body is JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        try:
            connection.request(method, path, sent, {**kind, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def raw(self, sent: bytes, *, half_close: bool = False, seconds: float = 20.0) -> bytes:
        """Send bytes and read all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as one:
            try:
                one.sendall(sent)
                if half_close:
                    one.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server has closed already
            found = b""
            try:
                while part := one.recv(65536):
                    found += part
            except ConnectionResetError:
                pass
            return found

    def quiet(self, seconds: float = 15.0) -> None:
        """Wait until nothing waits or runs; AssertionError if that does not come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.server.active == 0 and all(engine.idle for engine in self.server.models.engines):
                time.sleep(0.05)  # the log is written last
                return
            time.sleep(0.02)
        raise AssertionError("something is still under way")


@dataclass(frozen=True)
class Answer:
    """An answer, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in it."""
        return self.json["error"]


@contextmanager
def hosted(
    source: Path, store: Path, *, patience: float = 15.0, tracing: Tracing | None = None, **options: Any
) -> Iterator[Hosted]:
    """Serve a weights file as `digits`; `patience` is the guard's."""
    given = Options(store=store, device="cpu", port=0, **options)
    server = server_of([f"digits={source}"], given)
    rules = replace(rules_of(given), patience=patience)
    config = config_of(create_app(server, root_path=given.root_path, rules=rules, tracing=tracing))
    config.timeout_keep_alive = 1
    process = Process(config, server, drain=0.0, first=["digits"])
    listening = socket.create_server(("127.0.0.1", 0))
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await process.serve([listening])

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 60
        while (not process.started or server.loading) and time.monotonic() < until and thread.is_alive():
            time.sleep(0.01)
        assert process.started and not server.loading
        yield Hosted(server, listening.getsockname()[1], loops[0], process)
    finally:
        process.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "".join(
            traceback.format_stack(sys._current_frames()[thread.ident or 0])
        )
