"""What a hostile client does with HTTP itself, with forms, with addresses of media, and with keys."""

# ruff: noqa: E501 (a case a line)
from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multigen.serving import run
from multigen.serving.api.files import _signature
from multigen.serving.guard.keys import add_key
from tests.serving.hosted import Answer, Hosted, hosted

MAKE, EDITS = "/v1/images/generations", "/v1/images/edits"
ONE: dict[str, Any] = {"prompt": "3", "steps": 1}
JOB: dict[str, Any] = {"model": "digits", **ONE}
HEAD = f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
SMUGGLED = b"DELETE /v1/jobs/job_smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 50\r\n\r\n",
        b"Content-Length: +0\r\n\r\n",
        b"Content-Length: 0x0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0;" + b"x" * 200_000 + b"\r\n\r\n",
        b"X: \0\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=lambda b: repr(b[:30]),
)
def test_no_request_hides_in_another(guarded: Hosted, rest: bytes) -> None:
    """Every shape of head that two readers may take differently: refused, or read once."""
    found = guarded.raw(HEAD + rest + SMUGGLED)
    codes = [part.split(b" ", 1)[0] for part in found.split(b"HTTP/1.1 ")[1:]]
    assert codes and codes[0] in (b"400", b"413", b"415", b"501"), found[:200]
    assert b"job_smuggled" not in found or rest.startswith(
        (b"Transfer-Encoding: chunked\r\nC", b"Content-Length: 6")
    )
    assert b"x-request-id" in found and b'"error"' in found


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n", b"200"),
        (b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: \xff\xfe\r\n\r\n", b"200"),
        (b"get /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"405"),
        (b"GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET /health?" + b"a=b&" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", b"200"),
    ],
    ids=lambda v: repr(v[:40]),
)  # fmt: skip
def test_odd_requests_have_one_answer(guarded: Hosted, sent: bytes, code: bytes) -> None:
    found = guarded.raw(sent, half_close=True)
    assert found.split(b" ", 2)[1] == code, found[:300]
    assert found.count(b"HTTP/1.1 ") == 1


def test_a_body_without_end_is_cut_off(guarded: Hosted) -> None:
    """Chunks that keep coming, as fast as they are read."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=20) as one:
        one.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 400 << 20:
                one.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
                sent += 1 << 20
        except OSError:
            pass
    assert sent < 400 << 20 and time.monotonic() - begun < 15


def test_continue_is_not_said_to_a_body_that_is_too_large(guarded: Hosted) -> None:
    found = guarded.raw(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", half_close=True)
    assert found.startswith(b"HTTP/1.1 413") and b"100 Continue" not in found


def test_a_hundred_requests_in_one_packet(guarded: Hosted) -> None:
    get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    found = guarded.raw(get * 99 + get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert found.count(b"HTTP/1.1 200 OK") == 100


def test_more_connections_than_allowed_are_told_so(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CONNECTIONS", 8)
    with hosted(digits, tmp_path) as one:
        idle = [socket.create_connection(("127.0.0.1", one.port)) for _ in range(12)]
        time.sleep(0.2)
        answer = one.ask("GET", "/health")
        assert answer.status == 503 and answer.error["code"] == "overloaded"
        assert answer.headers["retry-after"] and answer.headers["x-request-id"].startswith("req_")
        for each in idle:
            each.close()
        time.sleep(0.2)
        assert one.ask("GET", "/health").status == 200


def form(*parts: tuple[str, bytes], boundary: str = "x", more: str = "") -> tuple[bytes, dict[str, str]]:
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n'.encode("utf-8", "surrogatepass") + content + b"\r\n"
        for head, content in parts
    )  # fmt: skip
    kind = {"content-type": f"multipart/form-data; boundary={boundary}{more}"}
    return body + f"--{boundary}--\r\n".encode(), kind


IMAGE = ('name="image"; filename="a"', b"\x89PNG\r\n\x1a\n")
FORMS: dict[str, tuple[bytes, dict[str, str]]] = {
    "deep names": form(('name="options' + "[a]" * 1000 + '"', b"1")),
    "deeper names": form(('name="' + "[" * 4000 + '"', b"1")),
    "a giant name": form((f'name="{"n" * 100_000}"', b"1")),
    "a giant file name": form((f'name="image"; filename="{"../" * 30_000}"', b"1")),
    "no name": form(("", b"1")),
    "twice": form(('name="prompt"', b"1"), ('name="prompt"', b"2")),
    "a text and an object": form(('name="sampler"', b"ddim"), ('name="sampler[eta]"', b"1")),
    "a list and an object": form(('name="loras[][name]"', b"x"), ('name="loras[name]"', b"x")),
    "many fields": form(*[(f'name="f{k}"', b"1") for k in range(3000)]),
    "many files": form(*[IMAGE for _ in range(3000)]),
    "a file as text": form(('name="image"', b"\x89PNG")),
    "a file that no one reads": form(IMAGE, ('name="weights"; filename="w"', b"1")),
    "text as a file": form(IMAGE, ('name="prompt"; filename="p"', b"3")),
    "an undefined charset": form(IMAGE, ('name="prompt"', b"3"), more="; charset=undefined"),
    "a codec as charset": form(IMAGE, ('name="prompt"', b"x" * 10), more="; charset=zlib_codec"),
    "idna": form(IMAGE, ('name="prompt"', b"\xff" * 100), more="; charset=idna"),
    "bytes that are no text": form(IMAGE, ('name="prompt"', b"\xff\xfe\xfa")),
    "JSON that is none": form(IMAGE, ('name="sampler"', b"{" * 5000)),
    "JSON that is deep": form(IMAGE, ('name="options"', b'{"a":' * 5000 + b"1" + b"}" * 5000)),
    "NaN": form(IMAGE, ('name="strength"', b"nan")), "infinity": form(IMAGE, ('name="strength"', b"1e999")),
    "digits": form(IMAGE, ('name="steps"', b"9" * 5000)), "a long boundary": form(IMAGE, boundary="b" * 5000),
    "an address": form(('name="image"', b"http://127.0.0.1:9/x.png")),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms(guarded: Hosted, name: str) -> None:
    body, kind = FORMS[name]
    begun = time.monotonic()
    answer = guarded.ask("POST", EDITS, body, kind)
    assert answer.status in (400, 413, 415), answer
    assert answer.error["message"] and len(answer.body) < 1500
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "body",
    [b'{"prompt": "3", "prompt": "4"}', b'{"prompt": "3", "sampler": {"name": "ddim", "name": "euler"}}',
     b'{"prompt": "3", "steps": 1e400}', b'{"prompt": "3", "n": 1e18}', b'{"prompt": "3", "seed": 1.5}',
     b'{"prompt": "3", "n": true}', b'{"prompt": "3", "steps": "2"}', b'{"prompt": "3"}{"prompt": "4"}',
     b'{"prompt": "\\ud800"}', b'{"prompt": "3", "user": "\\ud800"}', b'{"prompt": "3", "\\ud800": 1}',
     b"\xef\xbb\xbf{}", b'{"prompt": "3", "size": "\\u0661x1"}'],
    ids=repr,
)  # fmt: skip
def test_json_that_readers_take_differently(guarded: Hosted, body: bytes) -> None:
    answer = guarded.ask("POST", MAKE, body)
    assert answer.status == 400 and answer.error["type"] == "invalid_request_error"


def test_addresses_of_media(guarded: Hosted) -> None:
    """Signatures are of one file until one time; ranges are bounded; what is deleted is gone."""
    url = guarded.ask("POST", MAKE, {**ONE, "response_format": "url"}).json["data"][0]["url"]
    path, _, query = url.split(str(guarded.port), 1)[1].partition("?")
    expires, signature = (part.split("=")[1] for part in query.split("&"))
    name = path.split("/")[3].removesuffix(".png")
    other = name[:-1] + ("B" if name.endswith("A") else "A")
    past = int(time.time()) - 1
    forged = hmac.new(b"", f"{name}.png {expires}".encode(), hashlib.sha256).hexdigest()
    for wrong in (
        f"{path}?expires={int(expires) + 1}&signature={signature}",
        f"{path}?expires={past}&signature={_signature(guarded.server, name, '.png', past)}",
        f"{path}?expires={expires}&signature=", f"{path}?expires={expires}&signature={forged}",
        f"{path}?expires={expires}&signature={signature.upper()}", f"{path}?expires={expires}&signature=%C3%A9",
        f"{path}?expires={expires}&signature=%00", f"{path.replace('.png', '.json')}?{query}",
        f"{path.replace(name, other)}?{query}", f"{path}?expires={expires}&signature={signature}&signature=x",
    ):  # fmt: skip
        answer = guarded.ask("GET", wrong)
        assert (answer.status, answer.error["code"]) == (403, "invalid_signature"), wrong
    for wrong in (f"{path}?expires=x&signature=y", path, f"{path}?expires={'9' * 5000}&signature=y"):
        assert guarded.ask("GET", wrong).status == 400, wrong
    right = f"{path}?{query}"
    whole = guarded.ask("GET", right)
    assert whole.status == 200 and whole.headers["content-type"] == "image/png"
    assert guarded.ask("GET", right, headers={"range": "bytes=0-3"}).body == b"\x89PNG"
    many = guarded.ask(
        "GET", right, headers={"range": "bytes=" + ",".join(f"{k}-{k}" for k in range(0, 300, 2))}
    )
    assert (many.status, many.body) == (200, whole.body)
    for text, code in (
        ("bytes=999999-", 416),
        ("bytes=x", 400),
        ("bytes=5-1", 400),
        ("bytes=" + "9" * 5000 + "-", 416),
    ):
        answer = guarded.ask("GET", right, headers={"range": text})
        assert answer.status in (code, 400) and answer.error["code"] == "invalid_range", text
    guarded.server.store.delete(name)
    assert guarded.ask("GET", right).status == 404


@pytest.fixture(scope="module")
def two(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hosted, str, str]]:
    """A server with two keys."""
    folder = tmp_path_factory.mktemp("two")
    ana, ben = add_key(folder / "keys", "ana"), add_key(folder / "keys", "ben")
    with hosted(digits, folder / "store", keys=folder / "keys") as one:
        yield one, ana, ben


def by(one: Hosted, key: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    return one.ask(method, path, body, {"authorization": f"Bearer {key}", **headers})


def test_what_one_key_made_is_not_there_for_another(two: tuple[Hosted, str, str]) -> None:
    one, ana, ben = two
    once = {"idempotency-key": "one"}
    job = by(one, ana, "POST", "/v1/jobs", JOB, **once).json["id"]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        answer = by(one, ben, method, f"/v1/jobs/{job}{path}")
        assert answer.status == 404 and answer.error["code"] == "not_found"
    other = by(one, ben, "POST", "/v1/jobs", JOB, **once)
    assert other.status == 201 and other.json["id"] != job
    assert by(one, ana, "POST", "/v1/jobs", JOB, **once).json["id"] == job
    conflict = by(one, ana, "POST", "/v1/jobs", {**JOB, "seed": 9}, **once)
    assert (conflict.status, conflict.error["code"]) == (409, "idempotency_conflict")
    assert by(one, ana, "POST", "/v1/jobs", JOB, **{"idempotency-key": "k" * 5000}).status == 400
    assert by(one, ana, "GET", f"/v1/jobs/{job}").status == 200


def test_keys_cannot_be_guessed_and_guesses_hold_nobody_up(two: tuple[Hosted, str, str]) -> None:
    one, ana, _ = two
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=30)
    for k in range(300):
        guess = ana[:-1] + "ABCDEFGHIJ"[k % 10] if k % 3 else f"mg_{k}"
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {guess}"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 401 or guess == ana
        assert guess == ana or (ana not in body.decode() and guess not in body.decode())
    connection.close()
    assert by(one, ana, "GET", "/v1/models").status == 200
    for wrong in (f"Bearer {ana},{ana}", f"bearer\t{ana}", f"Basic {ana}", f"Bearer {ana} x", "Bearer \xe9"):
        assert one.ask("GET", "/v1/models", headers={"authorization": wrong}).status == 401
    assert one.ask("GET", f"/v1/models?api_key={ana}").status == 401


def test_readers_that_do_not_read_hold_nobody_up(guarded: Hosted) -> None:
    """Events that nobody reads, while others are served; then all of them go."""
    job = guarded.ask("POST", "/v1/jobs", {**JOB, "steps": 150, "n": 4, "previews": 8}).json["id"]
    head = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    open_ = [socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(50)]
    for each in open_:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        each.sendall(head)
    begun = time.monotonic()
    assert guarded.ask("GET", "/health").status == 200
    assert time.monotonic() - begun < 2
    assert guarded.ask("DELETE", f"/v1/jobs/{job}").json["status"] == "cancelled"
    for each in open_:
        each.close()
    guarded.quiet(10)


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_queued_cancels_over_http(guarded: Hosted, count: int) -> None:
    """Jobs that are cancelled as soon as they wait, one after the other: nothing is left, and others are served."""
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=60)

    def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    for k in range(count):
        status, job = ask("POST", "/v1/jobs", {**JOB, "steps": 100, "seed": k})
        assert status == 201, job
        status, found = ask("DELETE", f"/v1/jobs/{job['id']}")
        assert (status, found["status"]) == (200, "cancelled")
        assert ask("DELETE", f"/v1/jobs/{job['id']}")[1]["deleted"]
    connection.close()
    guarded.quiet(10)
    (engine,) = guarded.server.models.engines
    assert engine.waiting == engine.running == 0
    assert guarded.ask("POST", MAKE, ONE).status == 200
