"""Connections that do nothing, half of something, or too much."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multigen.serving.protocol import Protocol
from tests.serving.hosted import Hosted, hosted

MAKE = "/v1/images/generations"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def impatient(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A server that waits half a second for heads, bodies and readers."""
    patch = pytest.MonkeyPatch()
    patch.setattr(Protocol, "head_seconds", 0.5)
    patch.setattr(Protocol, "read_seconds", 0.5)
    with hosted(digits, tmp_path_factory.mktemp("impatient"), max_queue=64, patience=0.5) as one:
        yield one
    patch.undo()


def seconds(one: Hosted, sent: bytes) -> float:
    """How long the server holds a connection on which nothing more comes."""
    begun = time.monotonic()
    one.raw(sent)
    return time.monotonic() - begun


@pytest.mark.parametrize("sent", [b"", b"G", GET, GET + b"X: 1\r\n", GET + b"\r\nGET /hea"])
def test_a_head_that_does_not_end_is_cut_off(impatient: Hosted, sent: bytes) -> None:
    assert 0.3 < seconds(impatient, sent) < 5


def test_a_head_that_trickles_is_cut_off(impatient: Hosted) -> None:
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as one:
        try:
            while time.monotonic() - begun < 8:
                one.sendall(b"G")
                time.sleep(0.05)
        except OSError:
            pass  # reset, or a broken pipe
    assert time.monotonic() - begun < 4


@pytest.mark.slow
def test_a_body_that_does_not_come_is_answered_with_408(impatient: Hosted) -> None:
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        head = (
            f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 50\r\n\r\n{{"
        )
        begun = time.monotonic()
        found = impatient.raw(head.encode())
        assert found.split()[1] == b"408" and b'"code":"timeout"' in found
        assert time.monotonic() - begun < 6
    impatient.quiet()


def test_a_body_that_trickles_is_answered_with_408(impatient: Hosted) -> None:
    head = f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as one:
        one.sendall(head.encode())
        one.settimeout(0.05)
        found, begun = b"", time.monotonic()
        while not found and time.monotonic() - begun < 8:
            one.sendall(b" ")
            try:
                found = one.recv(4096)
            except TimeoutError:
                continue
    assert found.split()[1] == b"408"


def test_an_answer_that_nobody_reads_is_given_up(impatient: Hosted) -> None:
    """Many answers asked for on one connection, none read: the server's buffers are bounded, and so is its patience."""
    many = (b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n") * 2000
    gone = threading.Event()
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=8) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def send() -> None:
            try:
                one.sendall(many)
                while one.send(GET + b"\r\n"):
                    time.sleep(0.1)
            except OSError:
                gone.set()

        threading.Thread(target=send, daemon=True).start()
        assert gone.wait(20)


@pytest.mark.parametrize(
    "head",
    [
        GET + b"".join(b"X-%d: 1\r\n" % k for k in range(150)) + b"\r\n",
        GET + b"".join(b"X-%d: %s\r\n" % (k, b"a" * 100) for k in range(5000)) + b"\r\n",
        GET + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"GET / HTTP/1.1\r\nHost: a\r\n : b\r\n\r\n",
        b"GET /\xff\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["many", "flood", "large", "target", "tls", "name", "bytes", "no host", "http2"],
)
def test_heads_that_are_none(guarded: Hosted, head: bytes) -> None:
    found = guarded.raw(head)
    assert found.split()[1] in (b"400", b"403", b"431"), found[:80]
    assert b'"error"' in found


def test_a_client_that_closes_its_half_is_gone_and_its_place_free(guarded: Hosted) -> None:
    body = b'{"prompt": "3", "steps": 200, "n": 8}'
    head = f"POST {MAKE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    for cut in (len(body), len(body) - 3):
        begun = time.monotonic()
        guarded.raw(head.encode() + b"\r\n\r\n" + body[:cut], half_close=True)
        guarded.quiet(5)
        assert time.monotonic() - begun < 5


def test_an_upgrade_is_not_one(guarded: Hosted) -> None:
    extra = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    found = guarded.raw(GET + extra)
    assert b" 101 " not in found.split(b"\r\n")[0]


def test_idle_connections_end_and_others_are_served_meanwhile(guarded: Hosted) -> None:
    idle = [socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(200)]
    try:
        assert guarded.ask("GET", "/health").status == 200
    finally:
        for one in idle:
            one.close()
