"""What a hostile client sends to the routes: an answer below 500 each time, no hang, no path, no address fetched."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.serving.api.files import _signature
from multigen.serving.engine.ticket import Ticket
from tests.serving.hosted import Hosted

MAKE = "/v1/images/generations"
ONE: dict[str, Any] = {"prompt": "3", "steps": 2}
HERE = "http://127.0.0.1:{port}/"


def test_members_that_name_paths_weights_or_plugins_are_refused_by_name(
    guarded: Hosted, tmp_path: Path
) -> None:
    probe = tmp_path / "probe.safetensors"
    probe.write_bytes(b"x")
    for member in ("overrides", "weights", "recipe", "path", "source", "checkpoint", "device", "plugins", "codec",
                   "image", "image_url", "url", "callback_url", "webhook", "__class__", "_target_", "edit", "body",
                   "query"):  # fmt: skip
        answer = guarded.ask("POST", MAKE, {**ONE, member: str(probe)})
        assert answer.status == 400 and answer.error["param"] == member, member
    for name in ("sampler", "guide", "cache"):
        for part in (str(probe), "os.system", "../ddim", {"name": "ddim", "weights": str(probe)}, {"name": ["ddim"]},
                     {"_target_": "os.system"}, {"name": "ddim", "eta": {"_target_": "os.system"}}, {}, "", 7,
                     "${oc.env:HOME}", {"name": "${oc.env:HOME}"}, {"name": "ddim", "eta": 1e400}):  # fmt: skip
            answer = guarded.ask(
                "POST", MAKE, json.dumps({**ONE, name: part}).replace("Infinity", "1e400").encode()
            )
            assert answer.status == 400, (name, part)
            assert "HOME" not in guarded.ask("GET", "/metrics").body.decode()
    for lora in ("../../etc/passwd", str(probe), "http://127.0.0.1/x", "", "\0"):
        assert guarded.ask("POST", MAKE, {**ONE, "loras": [{"name": lora}]}).status == 400
    for model in ("../digits", str(probe), "owner/name", "digits\0", "digits ", ""):
        assert guarded.ask("POST", MAKE, {**ONE, "model": model}).status == 404


@pytest.mark.parametrize(
    "change",
    [{"prompt": "x" * 1_000_000}, {"negative_prompt": "y" * 1_000_000}, {"prompt": "\ud800"}, {"prompt": "\0"},
     {"prompt": ["3"]}, {"prompt": None}, {"prompt": {"$ref": "#"}}, {"n": 10**9}, {"n": -1}, {"n": 1.5}, {"n": "1"},
     {"steps": 10**9}, {"steps": 0}, {"seed": -1}, {"seed": 2**200}, {"seed": "x"}, {"guidance_scale": 1e308},
     {"guidance_scale": -1e308}, {"size": "16384x16384"}, {"size": "0x0"}, {"size": "-1x-1"}, {"size": "1x1x1"},
     {"size": "\uff11\uff10x10"}, {"size": "9" * 5000 + "x1"}, {"size": "28x28 "}, {"options": {"x": 1}},
     {"options": []}, {"sampler": {"name": "ddim", "eta": 1e308}}, {"sampler": {"name": "ddim", "eta": 10**398}},
     {"deadline": 1e-9}, {"deadline": -1}, {"deadline": 1e308}, {"priority": 10**9}, {"user": "u" * 10_000},
     {"loras": [{"name": "x"}] * 10_000}, {"sliding_window": True, "size": "100000x28"}, {"tile": "xz"}, {"n": True},
     {"output_format": "../png"}, {"output_format": "svg"}, {"output_compression": 1e9}, {"response_format": "file"},
     {"stream": "yes please"}, {"partial_images": 99, "stream": True}, {"model": ["digits"]}, {"\0": 1}, {"": 1}],
    ids=lambda c: str(c)[:30],
)  # fmt: skip
def test_values_that_no_request_should_have(guarded: Hosted, change: dict[str, Any]) -> None:
    begun = time.monotonic()
    answer = guarded.ask("POST", MAKE, {**ONE, **change})
    assert (
        400 <= answer.status < 500 or answer.status == 504 or (answer.status == 200 and _harmless(change))
    ), answer
    assert answer.status == 200 or len(answer.body) < 4000  # what was sent is not sent back whole
    assert time.monotonic() - begun < 10


def _harmless(change: dict[str, Any]) -> bool:
    """What may be made all the same."""
    return bool({"guidance_scale", "deadline", "user", "n"} & set(change)) or change == {
        "stream": "yes please"
    }


def test_no_address_is_fetched(guarded: Hosted) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        url = HERE.format(port=trap.getsockname()[1])
        for member in ("image", "image_url", "url", "mask", "input_reference", "response_format", "user", "model",
                       "prompt", "sampler", "output_format"):  # fmt: skip
            for value in (url, {"url": url}, [url]):
                assert guarded.ask("POST", MAKE, {**ONE, member: value}).status in (200, 400, 404)
        with pytest.raises(TimeoutError):
            trap.accept()


def test_names_of_files_lead_nowhere(guarded: Hosted) -> None:
    secret = Path(guarded.server.store.place).parent / "secret.png"
    secret.write_bytes(b"TOP SECRET")
    later = int(time.time()) + 600
    names = ["../secret", "..%2fsecret", "%2e%2e%2fsecret", "..%5csecret", "/etc/passwd", "....//secret", "secret%00",
             "%c0%ae%c0%ae/secret", "file_" + "a" * 10_000, ".", "..", "~", "*", "file_*", "%", "%zz"]  # fmt: skip
    for name in names:
        for suffix in (".png", ".json", "", ".png%00.json"):
            # A signature that is right for what the route will read, too: not only it stands between name and path.
            signed = _signature(guarded.server, name.replace("%2f", "/"), ".png", later)
            for query in (
                f"expires={later}&signature={signed}",
                "expires=1&signature=x",
                "expires=x&signature=",
                "",
            ):
                answer = guarded.ask("GET", f"/v1/files/{name}{suffix}/content?{query}".replace(" ", ""))
                assert answer.status in (307, 400, 403, 404), (name, suffix, answer)
                assert b"TOP SECRET" not in answer.body
    secret.unlink()


def test_methods_and_paths_that_are_none(guarded: Hosted) -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "X" * 100):
        for path in (MAKE, "/v1/models", "/", "/v1/models/digits", "/v1/" + "a/" * 2000):
            assert 400 <= guarded.ask(method, path).status < 500, (method, path)
    for path in ("/v1/models/" + "x" * 5000, "/v1/models/%00", "/v1/models/%ff", "/v1/models/../../etc/passwd",
                 "/openapi.json?x=" + "y" * 5000, "/v1/models?a[]=1&a[]=2", "/%2e%2e/etc/passwd"):  # fmt: skip
        assert guarded.ask("GET", path).status < 500, path


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=x"])
def test_forms_that_are_none(guarded: Hosted, boundary: str) -> None:
    kind = {"content-type": f"multipart/form-data{boundary}"}
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="../../a.png"\r\n\r\nGIF89a\r\n'
    for body in (b"", b"--", b"--x", part, part * 2000 + b"--x--", b"--x\r\n" * 10_000, b"\0" * 100_000,
                 b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--"):  # fmt: skip
        for path in (MAKE, "/v1/images/edits", "/v1/videos"):
            assert 400 <= guarded.ask("POST", path, body, kind).status < 500


def test_a_hundred_disconnects_and_cancels_leave_nothing(guarded: Hosted) -> None:
    """Clients that go away at once, or in the middle of a stream."""
    body = json.dumps({"prompt": "3", "steps": 150, "stream": True, "partial_images": 3}).encode()
    head = f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    for k in range(100):
        with socket.create_connection(("127.0.0.1", guarded.port)) as one:
            one.sendall(head.encode() + b"\r\n\r\n" + body)
            if k % 10 == 0:
                one.recv(100)
    guarded.quiet(30)
    assert guarded.ask("POST", MAKE, ONE).status == 200  # of those before it all are read then
    guarded.quiet(30)
    for engine in guarded.server.models.engines:
        assert (
            not engine._batcher.jobs
            and not engine._batcher._under_way
            and not engine._batcher._driver.samplings
        )


def test_ten_thousand_queued_cancels(guarded: Hosted) -> None:
    """In the engine itself: they cost little, block nothing and leave nothing."""
    (engine,) = guarded.server.models.engines

    async def run() -> tuple[int, float]:
        longest, last, refused = 0.0, time.monotonic(), 0
        planned = await engine.plan(Request("3", steps=100), 1)
        for _ in range(10_000):
            try:
                engine.cancel(engine.submit(Ticket("digits", "local", planned)))
            except MultigenError:
                refused += 1
            await asyncio.sleep(0)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        return refused, longest

    refused, longest = asyncio.run_coroutine_threadsafe(run(), guarded.loop).result(60)
    assert refused == 0 and longest < 0.5
    guarded.quiet(10)
    assert not engine._batcher.jobs and not engine._batcher._waiting and not engine._batcher._cancelled
    assert guarded.ask("POST", MAKE, ONE).status == 200


def test_overload_is_told_and_passes(guarded: Hosted) -> None:
    """Beyond its queue the server says 429 and when to come again; what it took, it makes."""
    with pytest.MonkeyPatch.context() as patch:
        (engine,) = guarded.server.models.engines
        patch.setattr(engine, "settings", type(engine.settings)(max_batch=2, max_queue=4))
        bodies = [json.dumps({**ONE, "n": 2, "seed": k, "steps": 20}).encode() for k in range(12)]
        answers = _together(guarded, bodies)
    codes = [int(a.split()[1]) for a in answers]
    assert set(codes) == {200, 429} and 2 <= codes.count(200) < 12
    for answer in answers:
        assert b" 200 " in answer[:20] or (b"retry-after: " in answer and b"queue_full" in answer)
    guarded.quiet()


def _together(guarded: Hosted, bodies: list[bytes]) -> list[bytes]:
    """Answers to requests that are sent before any of them is read."""
    head = (
        f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    )
    open_ = [socket.create_connection(("127.0.0.1", guarded.port), timeout=60) for _ in bodies]
    for one, body in zip(open_, bodies, strict=True):
        one.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    found = []
    for one in open_:
        with one:
            whole = b""
            while part := one.recv(65536):
                whole += part
            found.append(whole)
    return found


def test_memory_does_not_grow_by_hostile_requests(guarded: Hosted) -> None:
    """Bodies just under every limit, many at once."""
    process = psutil.Process()
    guarded.ask("POST", MAKE, ONE)
    before = process.memory_info().rss
    most = 7_900_000
    bodies = [json.dumps({"prompt": "x" * most}).encode(), b"[" + b"[]," * (most // 3) + b"1]",
              b'{"options": {' + b",".join(b'"%d": 1' % k for k in range(400_000)) + b"}}"]  # fmt: skip
    for _ in range(3):
        for answer in _together(guarded, bodies * 2):
            assert int(answer.split()[1]) in (400, 503)
    assert process.memory_info().rss - before < 200e6


@pytest.mark.parametrize(
    "change",
    [{"a" * 3_000_000: 1}, {"model": "m" * 3_000_000}, {"sampler": "s" * 3_000_000}, {"size": "1" * 3_000_000},
     {"loras": [{"name": "l" * 3_000_000}]}, {"response_format": "r" * 3_000_000}],
    ids=lambda c: next(iter(c))[:10],
)  # fmt: skip
def test_long_names_take_no_time_and_are_not_sent_back(guarded: Hosted, change: dict[str, Any]) -> None:
    """Looking for what a name of megabytes may have meant held the event loop for half a second."""
    begun = _loop_seconds(guarded)
    answer = guarded.ask("POST", MAKE, {**ONE, **change})
    assert answer.status in (400, 404) and len(answer.body) < 4000
    assert _loop_seconds(guarded) - begun < 0.2


def _loop_seconds(guarded: Hosted) -> float:
    """The processor's time that the event loop has taken."""

    async def taken() -> float:
        return time.thread_time()

    return asyncio.run_coroutine_threadsafe(taken(), guarded.loop).result(10)
