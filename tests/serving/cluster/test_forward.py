"""In front of the models: where a request goes, what becomes of it when a replica dies, is full or nobody listens."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Scope

from multigen.errors import MultigenError
from multigen.serving.api.app import create_app
from multigen.serving.api.sharing import Sharing
from multigen.serving.api.state import Server
from multigen.serving.cluster.forward import Forward, Full, Gone, answered, model_in, together
from multigen.serving.cluster.scaling import Replicas, wanted
from multigen.serving.engine.models import Models
from multigen.serving.engine.store import Store
from tests.serving.servers import LIMITS

MAKE = {"prompt": "3", "steps": 3}


class Here:
    """A replica in this process, which dies `deaths` times before and after it has worked."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.asked = app, 0
        self.before = self.after = self.full = 0
        self.cancelled = 0
        self.id: str | None = None

    def __call__(self, scope: Scope, body: bytes) -> Any:
        self.asked += 1
        self.id = scope.get("state", {}).get("request_id")
        return _Answer(self, scope, body)


class _Answer:
    def __init__(self, replica: Here, scope: Scope, body: bytes) -> None:
        self._replica, self._parts = replica, answered(replica.app, scope, body)
        self._task: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncIterator[Message]:
        one = self._replica
        if one.full:
            raise Full("full")
        if one.before:
            one.before -= 1
            raise Gone("died")
        if one.after:
            one.after -= 1
            async for _ in self._parts:
                pass
            raise Gone("died when it had answered")
        async for message in self._parts:
            yield message

    def cancel(self) -> None:
        self._replica.cancelled += 1


@contextmanager
def front(digits: Path, folder: Path) -> Iterator[tuple[Callable[[], httpx.AsyncClient], Server, Here]]:
    """The app in front of one replica, both in this process."""
    sources = {"digits": str(digits)}

    def server(own: frozenset[str]) -> Server:
        store = Store(folder)
        return Server(Models(sources, device="cpu"), store, LIMITS, sharing=Sharing(store, beat=0.1), own=own)

    replica = server(frozenset(["digits"]))
    inner = create_app(replica)
    here = Here(inner)

    async def metrics() -> dict[str, str]:
        return {"digits/0": "# TYPE a counter\na 1\n"}

    forward = partial(Forward, server=replica, calls={"digits": here}, metrics=metrics)
    app = create_app(server(frozenset()), forward=forward)
    transport = httpx.ASGITransport(app)
    yield (
        lambda: httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60),
        replica,
        here,
    )


async def _done(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    end = time.monotonic() + 30
    while (job := (await client.get(f"/v1/jobs/{name}")).json())["status"] != "completed":
        assert time.monotonic() < end, job
        await asyncio.sleep(0.05)
    return job


def test_what_makes_media_goes_to_its_model_and_the_rest_is_answered_in_front(
    digits: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        with front(digits, tmp_path) as (client, _, here):
            async with client() as one:
                made = await one.post("/v1/images/generations", json={"model": "digits", **MAKE})
                assert made.status_code == 200 and len(made.json()["data"]) == 1 and here.asked == 1
                assert made.headers["x-request-id"] == here.id
                assert [m["id"] for m in (await one.get("/v1/models")).json()["data"]] == ["digits"]
                wrong = await one.post("/v1/images/generations", json={"model": "none", **MAKE})
                assert wrong.status_code == 404 and "digits" in wrong.json()["error"]["message"]
                assert (await one.get("/metrics")).text == '# TYPE a counter\na{replica="digits/0"} 1\n'
                asked = here.asked
                name = (await one.post("/v1/jobs", json=MAKE)).json()["id"]
                assert len((await _done(one, name))["data"]) == 1 and here.asked == asked + 1

    asyncio.run(run())


def test_a_replica_that_dies_is_not_the_end_and_begins_nothing_twice(digits: Path, tmp_path: Path) -> None:
    async def run() -> None:
        with front(digits, tmp_path) as (client, replica, here):
            async with client() as one:
                here.before = 2
                assert (await one.post("/v1/images/generations", json=MAKE)).status_code == 200
                here.before = 3
                gone = await one.post("/v1/images/generations", json=MAKE)
                assert gone.status_code == 503 and gone.json()["error"]["code"] == "replica_gone"
                here.after = 1  # the job was begun; its answer never came
                name = (await one.post("/v1/jobs", json=MAKE)).json()["id"]
                await _done(one, name)
                assert replica.store.names("job") == [name] and len(replica.store.names("file")) == 1
                here.full = 1
                full = await one.post("/v1/jobs", json=MAKE)
                assert full.status_code == 429 and full.headers["retry-after"] == "2"

    asyncio.run(run())


def test_whoever_stops_reading_is_a_client_that_goes_away(digits: Path, tmp_path: Path) -> None:
    async def run() -> None:
        with front(digits, tmp_path) as (_, replica, here):
            body = b'{"prompt": "3", "steps": 100, "n": 4, "stream": true, "partial_images": 1}'
            scope: Scope = {
                "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "query_string": b"",
                "path": "/v1/images/generations", "raw_path": b"/v1/images/generations",
                "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
            }  # fmt: skip
            parts = answered(here.app, scope, body)
            async for message in parts:
                if b"partial_image" in message.get("body", b""):
                    break
            await parts.aclose()  # type: ignore[attr-defined]
            engine = replica.models.engines[0]
            end = time.monotonic() + 10
            while engine.running or engine.waiting:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)

    asyncio.run(run())


def test_the_model_of_a_body() -> None:
    assert model_in(b'{"model": "a", "prompt": "model"}') == "a"
    for none in (b"", b"{", b"[1]", b'{"prompt": "x"}', b'{"model": 3}', b"\xff\xfe"):
        assert model_in(none) is None
    files = {"input_reference": ("x.png", io.BytesIO(b"\x89PNG"), "image/png")}
    form = httpx.Request("POST", "http://x", data={"prompt": "a", "model": "clips"}, files=files)
    assert model_in(form.read()) == "clips"
    # What a file is called or holds is no field.
    inner = b'Content-Disposition: form-data; name="model"\r\n\r\nother\r\n'
    files = [("input_reference", ("model.png", inner, "image/png")), ("model", (None, b"clips"))]
    assert model_in(httpx.Request("POST", "http://x", files=files).read()) == "clips"
    begun = time.monotonic()
    assert model_in(b"--x\r\n\r\n" + b"name=model" * 400_000) is None
    assert time.monotonic() - begun < 1


def test_metrics_of_several_replicas_are_one_text() -> None:
    text = '# HELP a b\n# TYPE a counter\na{model="x"} 1.0\n# TYPE c gauge\nc 2.0\n'
    assert together({"x/0": text, "x/1": text}) == (
        '# HELP a b\n# TYPE a counter\na{replica="x/0",model="x"} 1.0\na{replica="x/1",model="x"} 1.0\n'
        '# TYPE c gauge\nc{replica="x/0"} 2.0\nc{replica="x/1"} 2.0\n'
    )


def test_replicas_and_their_scaling() -> None:
    assert (Replicas.of("2"), Replicas.of("1-4")) == (Replicas(2, 2), Replicas(1, 4))
    for wrong in ("", "0", "4-1", "x", "1-", "-1"):
        with pytest.raises(MultigenError, match="--replicas"):
            Replicas.of(wrong)
    assert wanted({"a": 16, "b": 16}, 3, 16) == 2  # jobs, of which Ray knows nothing
    assert wanted({"a": 2}, 48, 16) == 3  # requests that wait for a replica
