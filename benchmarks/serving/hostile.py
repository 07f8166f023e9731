"""What a hostile client sends: bodies, uploads, paths, heads and sockets of all nasty kinds."""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.serving import corpus
from benchmarks.serving.servers import Server, row, serving

MODEL = "image_digits"
HANG = 30.0  # s after which a request hangs
THREADS = 8
GROWTH = 200_000_000  # bytes


def measure(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Everything of the corpus once or more, several at a time; the server serves on and is no larger."""
    count = 300 if quick else 2000
    with serving([MODEL], folder / "hostile") as server:
        for k in range(4):
            server.make(model=MODEL, prompt="3", steps=5, seed=k)
        before, largest = server.memory, _Largest(server)
        with largest:
            found = _send(server, corpus.requests(random.Random(0), count, MODEL))
            found += _sockets(server, 20 if quick else 200)
        server.idle(60)
        alive = server.ask("GET", "/health", seconds=HANG).status == 200
        alive = alive and server.make(model=MODEL, prompt="3", steps=5).status == 200
        growth = largest.bytes - before
        after = server.memory - before
        log = server.log.read_text(errors="replace")
    wrong = [f"{kind}: {told}" for kind, told in found if _is_wrong(told)]
    wrong += ["it serves no more"] * (not alive) + _tracebacks(log)
    codes = Counter(told for _, told in found)
    said = "; ".join(wrong[:5]) or ", ".join(f"{code} x {n}" for code, n in sorted(codes.items()))
    print(f"  {codes}", file=sys.stderr, flush=True)
    return [
        row(
            f"hostile corpus of {len(found)}: errors of the server and hangs",
            len(wrong),
            "",
            "0",
            met=not wrong,
            spread=said,
        ),
        row(
            "hostile corpus: growth of memory at its largest",
            growth / 1e6,
            "MB",
            "< 200",
            met=growth < GROWTH,
            spread=f"{after / 1e6:.0f} afterwards",
        ),
    ]


def _tracebacks(log: str) -> list[str]:
    """The last lines of those in the log."""
    return [f"in the log: {part.strip().splitlines()[-1][-200:]}" for part in log.split("Traceback")[1:]]


def _is_wrong(told: str) -> bool:
    """A hang, or a status of 500 and over that is none of an overload (503) or a deadline of the client's (504)."""
    return told == "hang" or (told.isdecimal() and int(told) >= 500 and told not in ("503", "504"))


def _send(server: Server, requests: Sequence[corpus.Raw]) -> list[tuple[str, str]]:
    """What each came to: a status, "closed", or "hang"."""
    left, found, lock = list(requests), list[tuple[str, str]](), threading.Lock()

    def client() -> None:
        while True:
            with lock:
                if not left:
                    return
                one = left.pop()
            told = _raw(server, one.sent, half_close=one.half_close)
            with lock:
                found.append((one.kind, told))

    _all([client] * THREADS)
    return found


def _raw(server: Server, sent: bytes, *, half_close: bool) -> str:
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=HANG) as one:
            with suppress(OSError):  # the server has answered and closed already
                one.sendall(sent)
                if half_close:
                    one.shutdown(socket.SHUT_WR)
            head = one.recv(65536)
            words = head.split(b" ", 2)
            while head and one.recv(65536):
                pass
    except TimeoutError:
        return "hang"
    except OSError:
        return "closed"
    return words[1].decode("latin-1") if len(words) > 1 and words[0].startswith(b"HTTP/") else "closed"


def _sockets(server: Server, count: int) -> list[tuple[str, str]]:
    """Connections that are held: nothing, half a head, a byte now and then, an answer that nobody reads."""
    found: list[tuple[str, str]] = []
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=HANG) for _ in range(count)]
    starts = (
        b"",
        b"POST /v1/images",
        b"GET / HTTP/1.1\r\nhost: local",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\r\n" * 100,
    )
    for k, one in enumerate(held):
        with suppress(OSError):  # closed at once
            one.sendall(starts[k % len(starts)])
    unread = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
    for one in unread:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 50)
    for _ in range(20):
        for one in held[::7]:
            with suppress(OSError):
                one.sendall(b"x")
        begin = time.perf_counter()
        answer = server.ask("GET", "/health", seconds=HANG)  # others are served meanwhile
        found.append(("beside held connections", str(answer.status)))
        time.sleep(max(0.05 - (time.perf_counter() - begin), 0))
    for one in (*held, *unread):
        one.close()
    return found


class _Largest:
    """The largest memory of a server inside the block."""

    def __init__(self, server: Server) -> None:
        self._server, self.bytes = server, server.memory
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.bytes = max(self.bytes, self._server.memory)


def _all(works: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
