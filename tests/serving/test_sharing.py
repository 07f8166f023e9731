"""Servers that share a store: any of them knows of each job, and what one leaves another finishes, once."""

from __future__ import annotations

import io
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from multigen.serving.api.sharing import Sharing
from multigen.serving.engine.store import Store
from tests.serving.servers import Running, running, saved
from tests.serving.test_jobs import BODY, events

SLOW = {**BODY, "steps": 60, "n": 2}


@contextmanager
def servers(place: Path | str, digits: Path, count: int = 2, **more: str) -> Iterator[list[Running]]:
    """Servers of one store, which miss each other quickly; `more` models beside digits."""
    sources = {"digits": str(digits), **more}
    with ExitStack() as stack:
        yield [
            stack.enter_context(running(sources, place, share=lambda store: Sharing(store, beat=0.2, lost=3)))
            for _ in range(count)
        ]


@pytest.fixture(scope="module")
def pair(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    moving = saved("video_moving_emoji", tmp_path_factory.mktemp("models"))
    with servers(tmp_path_factory.mktemp("store"), digits, moving=moving) as found:
        yield found


def job(one: Running, name: str) -> dict[str, Any]:
    return httpx.get(f"{one.url}/v1/jobs/{name}", timeout=30).json()


def until(said: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end
        time.sleep(0.05)


def alike(one: bytes, two: bytes) -> bool:
    """Whether two pictures are the same, but for what a batch rounds in another way."""
    first, second = (np.asarray(Image.open(io.BytesIO(content)), dtype=int) for content in (one, two))
    return first.shape == second.shape and abs(first - second).max() <= 1


def left(one: Running) -> list[str]:
    """Files of the store that only jobs under way have."""
    return [
        p.name for p in Path(one.server.store.place).iterdir() if p.suffix not in (".json", ".png", ".secret")
    ]


def test_any_server_tells_of_a_job_and_gives_its_files(pair: list[Running]) -> None:
    one, two = pair
    made = httpx.post(f"{one.url}/v1/jobs", json={**SLOW, "previews": 2}).json()
    seen: list[dict[str, Any]] = []
    until(
        lambda: seen.append(job(two, made["id"])) or seen[-1]["progress"] > 0
    )  # it may run before its first step
    shown = seen[-1]
    assert shown["status"] == "in_progress" and shown["progress"] < 1
    assert {row["of"] for row in shown["steps"]} == {60}
    found = events(two.url, made["id"])
    kinds = [row["type"] for row in found]
    assert kinds[0] == "queued" and kinds[-1] == "done" and {"running", "step"} <= set(kinds)
    assert kinds.count("medium") == 2 and kinds.count("preview") == 4
    assert all(len(row["b64_json"]) > 100 for row in found if row["type"] == "preview")
    rows = job(two, made["id"])["data"]
    contents = [httpx.get(row["url"]).content for row in rows]
    assert len(set(contents)) == 2 and all(content[:4] == b"\x89PNG" for content in contents)
    assert httpx.get(rows[0]["url"].replace(two.url, one.url)).content == contents[0]
    until(lambda: left(one) == [])


def test_a_job_is_cancelled_and_forgotten_by_another_server(pair: list[Running]) -> None:
    one, two = pair
    name = httpx.post(f"{one.url}/v1/jobs", json=SLOW).json()["id"]
    assert httpx.delete(f"{two.url}/v1/jobs/{name}", timeout=30).json()["status"] == "cancelled"
    until(lambda: one.places == 0)
    assert httpx.delete(f"{two.url}/v1/jobs/{name}").json()["deleted"]
    assert httpx.get(f"{one.url}/v1/jobs/{name}").status_code == 404


def test_an_idempotency_key_begins_one_job_whichever_server_is_asked(pair: list[Running]) -> None:
    found: list[httpx.Response] = []

    def ask(one: Running) -> None:
        found.append(httpx.post(f"{one.url}/v1/jobs", json=BODY, headers={"idempotency-key": "one"}))

    threads = [threading.Thread(target=ask, args=(one,)) for one in pair * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answer.status_code in (200, 201) for answer in found)
    names = {answer.json()["id"] for answer in found}
    assert len(names) == 1
    assert len(job(pair[0], names.pop())["data"]) in (0, 1)


def test_videos_are_found_too(pair: list[Running]) -> None:
    one, two = pair
    form = {"model": "moving", "prompt": "panda", "steps": "20", "seed": "1"}
    name = httpx.post(f"{one.url}/v1/videos", files={k: (None, v) for k, v in form.items()}).json()["id"]
    shown = httpx.get(f"{two.url}/v1/videos/{name}")
    assert shown.json()["status"] in ("queued", "in_progress") and int(shown.headers["openai-poll-after-ms"])
    assert name in [row["id"] for row in httpx.get(f"{two.url}/v1/videos").json()["data"]]
    until(lambda: httpx.get(f"{two.url}/v1/videos/{name}").json()["status"] == "completed", 60)
    content = [httpx.get(f"{s.url}/v1/videos/{name}/content").content for s in pair]
    assert content[0] == content[1] and len(content[0]) > 500


@pytest.mark.parametrize("kind", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_what_a_server_hands_back_another_finishes(kind: str, digits: Path, tmp_path: Path) -> None:
    place = tmp_path / "store" if kind == "folder" else f"memory://{uuid.uuid4().hex}/store"
    with servers(place, digits, 1) as (first,):
        alone = httpx.post(f"{first.url}/v1/jobs", json=SLOW).json()["id"]
        assert events(first.url, alone)[-1]["type"] == "done"
        expected = [httpx.get(row["url"]).content for row in job(first, alone)["data"]]
        names = [httpx.post(f"{first.url}/v1/jobs", json=SLOW).json()["id"] for _ in range(2)]
    assert {Store(place).get(name)["status"] for name in names} == {"queued"}  # type: ignore[index]
    with servers(place, digits, 2) as (second, third):
        for name in names:
            until(lambda name=name: job(third, name)["status"] == "completed", 60)
            rows = job(second, name)["data"]
            for row, before in zip(rows, expected, strict=True):
                assert alike(httpx.get(row["url"]).content, before)
        # Each job has its two files, and no other is there.
        assert len(second.server.store.names("file")) == 2 * (1 + len(names))
        assert len(second.server.store.names("job")) == 1 + len(names)


@pytest.mark.slow
def test_what_a_dead_server_made_another_makes(digits: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    with servers(place, digits, 1) as (one,):
        name = httpx.post(f"{one.url}/v1/jobs", json=SLOW, headers={"idempotency-key": "k"}).json()["id"]
        until(lambda: (place / f"{name}.live").exists())
        kept = {p.name: p.read_bytes() for p in place.glob(f"{name}.*")}
        assert set(kept) >= {f"{name}{suffix}" for suffix in (".json", ".ask", ".live")}
    for path in place.glob("*_*"):
        path.unlink()
    for row, content in kept.items():  # as a kill -9 would have left it
        (place / row).write_bytes(content)
    with servers(place, digits, 1) as (two,):
        until(lambda: job(two, name)["status"] == "completed", 60)
        assert len(job(two, name)["data"]) == 2 and len(two.server.store.names("file")) == 2
        again = httpx.post(f"{two.url}/v1/jobs", json=SLOW, headers={"idempotency-key": "k"})
        assert (again.status_code, again.json()["id"]) == (200, name)
        until(lambda: left(two) == [])


def test_what_cannot_be_made_any_more_says_so(digits: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    store = Store(place)
    record = {"id": "job_0123456789", "owner": "local", "status": "queued", "model": "digits", "began": 1.0, "n": 1,
              "format": ".png", "digest": ""}  # fmt: skip
    store.put("job_0123456789", record)
    head = {"path": "/v1/jobs", "headers": {"content-type": "application/json"}}
    store.note(
        "job_0123456789", ".ask", json.dumps(head).encode() + b"\n" + json.dumps({"stepz": 1}).encode()
    )
    store.note("job_0123456789", ".free", b"")
    store.note("job_9876543210", ".ask", b"{}")  # its server died before it accepted it
    with servers(place, digits, 1) as (one,):
        until(lambda: job(one, "job_0123456789")["status"] == "failed")
        assert "'steps'" in job(one, "job_0123456789")["error"]["message"]
        until(lambda: left(one) == [])


def test_a_job_that_ends_its_makers_is_given_up(digits: Path, tmp_path: Path) -> None:
    place, name = tmp_path / "store", "job_0123456789"
    store = Store(place)
    store.put(name, {"id": name, "owner": "local", "status": "queued", "model": "digits", "began": 1.0, "n": 1,
                     "format": ".png", "digest": ""})  # fmt: skip
    head = {"path": "/v1/jobs", "headers": {"content-type": "application/json"}}
    store.note(name, ".ask", json.dumps(head).encode() + b"\n" + json.dumps(BODY).encode())
    store.note(name, ".c5", b"3")  # the fifth to make it, and three of those before are gone
    for path in place.glob(f"{name}.*"):
        os.utime(path, (time.time() - 60,) * 2)
    with servers(place, digits, 1) as (one,):
        until(lambda: job(one, name)["status"] == "failed")
        assert job(one, name)["error"]["code"] == "lost"


@pytest.mark.slow
def test_a_server_that_was_overtaken_lets_go(pair: list[Running]) -> None:
    one, _ = pair
    name = httpx.post(f"{one.url}/v1/jobs", json={**SLOW, "steps": 100, "n": 8}).json()["id"]
    assert one.server.store.claim(name, ".c9", b"another")
    until(lambda: one.places == 0)
    assert one.server.background.get(name) is None
    assert one.server.store.get(name)["status"] == "queued"  # type: ignore[index]
    # The other never was; so this one, or its neighbour, goes on.
    until(lambda: job(one, name)["status"] == "completed", 60)
    assert len(job(one, name)["data"]) == 8
