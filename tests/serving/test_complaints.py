"""What users of other servers complain of, through the official client: here each of it is met, or told by name.

Those that need no server stand in tests/serving/engine/test_engine.py: two clients that double each other's latency
(sglang 30634), a batch that changes the image of a seed (sglang 28502), and what memory does not hold.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

import multigen
from multigen.modalities.guard import Guard
from multigen.modalities.raster import to_levels
from multigen.model.model import Model
from multigen.serving.api import encoding
from multigen.serving.engine import engine as engines
from multigen.serving.engine.settings import Settings
from tests.serving.servers import Running, running
from tests.serving.test_api import QUICK, alone, levels, settled
from tests.serving.test_jobs import events

LONG = {"steps": 100, "seed": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One model of digits, with a short queue."""
    folder = tmp_path_factory.mktemp("store")
    with running({"digits": "image_digits"}, folder, settings=Settings(max_batch=4, max_queue=12)) as one:
        with one.client() as client:
            client.images.generate(prompt="1", extra_body=QUICK)  # loads the model
        yield one


@pytest.fixture
def network(served: Running) -> Model:
    (one,) = served.server.models.engines
    return one.model


def held(network: Model, patch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold the next network call: it has begun, and it may end."""
    begun, go_on = threading.Event(), threading.Event()
    forward = network.denoiser.forward

    def forwarded(*given: Any, **more: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return forward(*given, **more)

    patch.setattr(network.denoiser, "forward", forwarded)
    return begun, go_on


def until(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(0.01)


def test_every_of_many_concurrent_calls_answers(served: Running) -> None:
    """vllm-omni 1080: of two concurrent calls one never answers."""

    async def work() -> list[Any]:
        async with served.aclient() as client:
            calls = [
                client.images.generate(prompt=str(k), extra_body={"seed": k, "steps": 2 + k})
                for k in range(8)
            ]
            return await asyncio.wait_for(asyncio.gather(*calls), 60)

    assert [row.data[0].model_extra["seed"] for row in asyncio.run(work())] == list(range(8))


def test_a_stream_shows_something_and_ends_in_the_same_picture(client: openai.OpenAI) -> None:
    """sglang 24240: stream=True gives blanks."""
    *partial, last = client.images.generate(prompt="7", stream=True, partial_images=2, extra_body=QUICK)
    assert len(partial) == 2 and all(levels(one.b64_json).std() > 5 for one in partial)
    assert np.abs(levels(last.b64_json) - alone(5)).max() <= 1


@pytest.mark.parametrize("more", [{}, {"response_format": "b64_json"}, {"response_format": "url"}], ids=str)
def test_every_response_format_and_none_is_taken(client: openai.OpenAI, more: dict[str, Any]) -> None:
    """sglang 19346: a default response_format answers 400."""
    row = client.images.generate(prompt="7", extra_body=QUICK, **more).data[0]
    assert bool(row.url) == (more.get("response_format") == "url") != bool(row.b64_json)


def test_nothing_goes_on_after_a_disconnect(
    served: Running, network: Model, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vllm-omni 1347: work goes on after a disconnect. Here it has gone by the next network call."""
    with monkeypatch.context() as patch:
        begun, go_on = held(network, patch)
        with pytest.raises(openai.APITimeoutError):
            client.images.generate(prompt="7", n=4, extra_body=LONG, timeout=0.3)
        assert begun.wait(30)
        (one,) = served.server.models.engines
        calls, step = [0], one._batcher.step
        patch.setattr(one._batcher, "step", lambda places: calls.append(len(places)) or step(places))
        until(
            lambda: all(ticket.over for ticket in one._tickets())
        )  # the loop has seen that the client is gone
        go_on.set()
        assert settled(served) and calls == [0]


def test_edits_heed_n_and_the_seed(client: openai.OpenAI) -> None:
    """vllm-omni 2082: edits ignore n. 3436: the seed is ignored through the client."""
    model = multigen.load("image_digits", device="cpu")
    picture = model.generate("7", steps=3, seed=5)[0]
    file = io.BytesIO()
    Image.fromarray(to_levels(picture.tensor)[..., 0]).save(file, format="PNG")
    more = {"strength": 0.7, "steps": 3, "seed": 40}
    made = client.images.edit(image=("a.png", file.getvalue()), prompt="3", n=3, extra_body=more)
    found = [levels(row.b64_json or "") for row in made.data]
    assert [row.model_extra["seed"] for row in made.data] == [40, 41, 42]
    expected = model.edit(picture, "3", strength=0.7, steps=3, seed=40, n=3)
    for one, medium in zip(found, expected, strict=True):
        assert np.abs(one - to_levels(medium.tensor)[..., 0].astype(int)).max() <= 1
    assert np.abs(found[0] - found[1]).max() > 5


def test_a_cancel_hits_its_own_job_alone(served: Running) -> None:
    """ComfyUI 2566, 7513: interrupt hits the wrong job."""
    bodies = [{"prompt": "7", "steps": 100 if k in (1, 4) else 8, "seed": 5 + k} for k in range(6)]
    names = [httpx.post(f"{served.url}/v1/jobs", json=body).json()["id"] for body in bodies]
    for k in (1, 4):  # one that runs, one that may wait
        assert httpx.delete(f"{served.url}/v1/jobs/{names[k]}").json()["status"] == "cancelled"
    ends = [events(served.url, name)[-1]["type"] for name in names]
    assert ends == ["cancelled" if k in (1, 4) else "done" for k in range(6)]
    (expected,) = multigen.load("image_digits", device="cpu").generate("7", steps=8, seed=7)
    job = httpx.get(f"{served.url}/v1/jobs/{names[2]}").json()
    found = levels(base64.b64encode(httpx.get(job["data"][0]["url"]).content).decode())
    assert np.abs(found - to_levels(expected.tensor)[..., 0].astype(int)).max() <= 1


def test_overload_is_told_and_the_engine_lives(
    served: Running, network: Model, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vllm 44933: overload kills the engine where 429 was due."""
    with monkeypatch.context() as patch:
        begun, go_on = held(network, patch)
        codes: list[int] = []

        def post() -> None:
            body = {"prompt": "1", "n": 4, "steps": 1}
            codes.append(httpx.post(f"{served.url}/v1/jobs", json=body, timeout=60).status_code)

        post()
        assert begun.wait(30)
        threads = [threading.Thread(target=post) for _ in range(3)]
        for thread in threads:  # they are planned when the call at hand is over, and count from the beginning
            thread.start()
        (one,) = served.server.models.engines
        until(lambda: one._planning == 12)
        with pytest.raises(openai.RateLimitError) as caught:
            client.images.generate(prompt="7", extra_body=QUICK)
        assert int(caught.value.response.headers["retry-after"]) >= 1 and caught.value.code == "queue_full"
        go_on.set()
        for thread in threads:
            thread.join(60)
    assert codes == [201] * 4 and settled(served)
    assert client.images.generate(prompt="7", extra_body=QUICK).data[0].b64_json


def test_the_event_loop_does_none_of_the_work(
    served: Running, network: Model, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker/model-runner 1041: a blocked event loop. Whatever takes long runs in other threads."""

    async def here() -> int:
        return threading.get_ident()

    loop = asyncio.run_coroutine_threadsafe(here(), served.loop).result(30)
    threads: dict[str, set[int]] = {}

    def noted(owner: Any, name: str) -> None:
        work: Callable[..., Any] = getattr(owner, name)

        def run(*given: Any, **more: Any) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return work(*given, **more)

        monkeypatch.setattr(owner, name, run)

    for owner, name in (
        (network.denoiser, "forward"), (network.codec, "decode"), (network.conditioner, "from_prompts"),
        (engines, "jobs"), (encoding, "_file"), (Guard, "__call__"),
    ):  # fmt: skip
        noted(owner, name)
    picture = base64.b64decode(client.images.generate(prompt="7", extra_body=QUICK).data[0].b64_json or "")
    list(client.images.generate(prompt="7", stream=True, partial_images=2, n=2, extra_body=QUICK))
    client.images.edit(image=("a.png", picture), prompt="3", extra_body={**QUICK, "strength": 0.5})
    edit = {"media": base64.b64encode(picture).decode(), "strength": 0.5}
    name = httpx.post(f"{served.url}/v1/jobs", json={"prompt": "3", "steps": 2, "edit": edit}).json()["id"]
    assert events(served.url, name)[-1]["type"] == "done"
    assert sorted(threads) == ["__call__", "_file", "decode", "forward", "from_prompts", "jobs"]
    assert all(loop not in found for found in threads.values())


def test_the_server_answers_while_a_network_call_takes_long(
    served: Running, network: Model, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker/model-runner 1041: the loop goes on, and counts how late it is, as long as the call takes."""
    with monkeypatch.context() as patch:
        begun, go_on = held(network, patch)
        turns: list[float] = []
        patch.setattr(served.server.models.watch, "lagged", turns.append)
        name = httpx.post(f"{served.url}/v1/jobs", json={"prompt": "3", "steps": 2}).json()["id"]
        assert begun.wait(30)
        turns.clear()
        for path in ("/health", "/ready", "/v1/models", f"/v1/jobs/{name}") * 3:
            assert httpx.get(f"{served.url}{path}").status_code == 200
        assert json.loads(httpx.get(f"{served.url}/ready").text)["running"] == 1
        until(lambda: len(turns) >= 20)
        go_on.set()
        assert events(served.url, name)[-1]["type"] == "done"
