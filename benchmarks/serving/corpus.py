"""Requests of a hostile client as the bytes that go over the wire, made by chance from a seed."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import wave
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image

PICTURES = "/v1/images/generations"
EDITS = ("/v1/images/edits", "/v1/audio/edits", "/v1/videos")
POSTS = (PICTURES, "/v1/audio/generations", "/v1/audio/speech", "/v1/videos", "/v1/jobs", *EDITS[:2])
MEMBERS = (
    "prompt", "model", "n", "steps", "seed", "size", "guidance_scale", "negative_prompt", "sampler", "guide", "loras",
    "options", "priority", "deadline", "user", "stream", "partial_images", "output_format", "response_format", "edit",
    "overrides", "duration", "seconds", "input", "previews", "format", "background", "tile", "sliding_window",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**400, -(10**30), float("inf"), float("nan"), 1e308, "", "\0", "\ud800", "x" * 70_000,
    "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "${oc.env:HOME}", "{{7*7}}", "%s%n", [], {}, [[]],
    {"_target_": "os.system"}, {"name": "ddim", "eta": float("nan")}, {"$ref": "#"}, ["a"] * 5000, "9" * 5000, "1x1",
    "16384x16384", "\u202e\uffff\U0001f4a9",
)  # fmt: skip


class Raw(NamedTuple):
    """A request: what it is, its bytes, and whether the client closes its side after them.

    Most of those that leave the server waiting do, so that the rest is not held up.
    """

    kind: str
    sent: bytes
    half_close: bool = False


def requests(chance: random.Random, count: int, model: str) -> list[Raw]:
    """`count` requests of all kinds in turn."""
    files = uploads()
    kinds: tuple[Callable[[], Raw], ...] = (
        lambda: _members(chance, model),
        lambda: _text(chance),
        lambda: _form(chance, files),
        lambda: _job_with_medium(chance, files, model),
        lambda: _path(chance),
        lambda: _head(chance),
        lambda: _framing(chance),
        lambda: _garbage(chance),
    )
    made = [kinds[k % len(kinds)]() for k in range(count)]
    return [one._replace(half_close=one.half_close or chance.random() < 0.15) for one in made]


def post(path: str, body: bytes, kind: str = "application/json", more: str = "") -> bytes:
    """A request with a body."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\nconnection: close\r\n{more}"
    return head.encode("latin-1") + f"content-length: {len(body)}\r\n\r\n".encode() + body


def _members(chance: random.Random, model: str) -> Raw:
    """A request that is right but for some members."""
    body = {"model": model, "prompt": "3", "steps": 2}
    for _ in range(chance.randint(1, 3)):
        body[chance.choice((*MEMBERS, "x", ""))] = chance.choice(VALUES)
    return Raw(f"members {json.dumps(body)[:100]}", post(chance.choice(POSTS), json.dumps(body).encode()))


def _text(chance: random.Random) -> Raw:
    """Bodies that are no JSON, or too much of it."""
    deep = chance.choice((100, 10_000, 1_000_000))
    texts = (
        b"", b"null", b"[]", b'"', b"{", b'{"prompt": "3"', b"\xff\xfe{}", b"NaN", b"-", b"1e999999", b"\0" * 1000,
        b"[" * deep, b'{"a":' * deep, b'{"prompt":"' + b"\\u0000" * deep + b'"}', b"9" * deep,
        b"{" + b",".join(b'"%d":1' % k for k in range(deep // 10)) + b"}", b'{"prompt":"3","prompt":"4"}',
        b" " * deep + b"{}",
    )  # fmt: skip
    text = chance.choice(texts)
    return Raw(f"text {text[:40]!r} of {len(text)}", post(chance.choice(POSTS), text))


def uploads() -> dict[str, bytes]:
    """Files that lie."""
    png = io.BytesIO()
    Image.new("RGB", (28, 28)).save(png, format="PNG")
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\0\1" * 800)
    good, wav = png.getvalue(), sound.getvalue()
    return {
        "empty": b"",
        "half": good[: len(good) // 2],
        "tail": good + b"\0" * 100_000,
        "bomb.png": bomb(60_000, 60_000),
        "flat.png": bomb(2_040, 2_040),
        "long.wav": wav[:40] + struct.pack("<I", 0xFFFFFFF0) + wav[44:],
        "rate.wav": wav[:24] + struct.pack("<I", 0) + wav[28:],
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:1/"/></svg>',
        "playlist": b"#EXTM3U\nhttp://127.0.0.1:1/a.ts\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "html": b"<script>alert(1)</script>",
        "zip": b"PK\3\4" + b"\0" * 1000,
        "gif": b"GIF89a\xff\xff\xff\xff\xf7\0\0" + b"\0" * 1000,
        "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\xff\xff\xff\xffmoov" + b"\0" * 500,
        "right": good,
        "sound": wav,
    }


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes and many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = min(height, 4000)
    content = zlib.compress(bytes((width // 8 + 2) * rows), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def _form(chance: random.Random, files: dict[str, bytes]) -> Raw:
    """Forms with files that lie, and forms that are none."""
    name, content = chance.choice(list(files.items()))
    edge = chance.choice(("x", "x" * 70, "x y", '"', ""))
    member = chance.choice(("image", "image[]", "mask", "audio", "input_reference", "file", "../x", ""))
    called = chance.choice(("a.png", "../../a.png", "a\0.png", "/etc/passwd", "x" * 5000, "a.wav", ""))
    end = chance.choice((f"\r\n--{edge}--\r\n", f"\r\n--{edge}", "", f"\r\n--{edge}\r\n" * 300)).encode()
    part = (
        f'--{edge}\r\ncontent-disposition: form-data; name="{member}"; filename="{called}"\r\n\r\n'.encode()
    )
    steps = f'\r\n--{edge}\r\ncontent-disposition: form-data; name="steps"\r\n\r\n2'.encode()
    body = (part + content) * chance.choice((1, 1, 3)) + steps + end
    return Raw(
        f"form {name} as {member}", post(chance.choice(EDITS), body, f"multipart/form-data; boundary={edge}")
    )


def _job_with_medium(chance: random.Random, files: dict[str, bytes], model: str) -> Raw:
    name, content = chance.choice(list(files.items()))
    text = base64.b64encode(content).decode("ascii")
    text = chance.choice((text, text[:-3], f"data:image/png;base64,{text}", f"data:text/html,{text}", "@@@"))
    edit = {"media": text, "strength": chance.choice((0.5, -1, 1e9, "x"))}
    body = {"model": model, "prompt": "3", "steps": 2, "edit": edit}
    return Raw(f"job with {name}", post("/v1/jobs", json.dumps(body).encode()))


def _path(chance: random.Random) -> Raw:
    """Addresses that lead out of the tree, or nowhere."""
    roots = ("/v1/files/", "/v1/jobs/", "/v1/videos/", "/v1/models/", "/", "/page/", "/v1/images/")
    tails = (
        "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "%ff%fe", "a" * 8000, "a/" * 2000, "%", "*", "~", "..;/",
        "file_aaaaaaaa.png/content?expires=99999999999&signature=x", "?" + "a=b&" * 1000, "//localhost/", "\\..\\..",
    )  # fmt: skip
    method = chance.choice(
        ("GET", "HEAD", "DELETE", "OPTIONS", "PUT", "TRACE", "CONNECT", "X" * 200, "G\xe9T")
    )
    target = chance.choice(roots) + chance.choice(tails)
    sent = f"{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    return Raw(f"path {method[:10]} {target[:60]}", sent.encode("latin-1"))


def _head(chance: random.Random) -> Raw:
    """Heads that are too long, too many, twice there, or of another host."""
    heads = (
        "x: " + "y" * 100_000, "\r\n".join(f"x{k}: y" for k in range(2000)), "host: evil.example", "host: localhost:1",
        "origin: http://evil.example", "content-encoding: gzip", "transfer-encoding: gzip", "expect: 100-continue",
        "content-length: 5", "content-length: -1", "content-length: 99999999999999999999", "content-length: 1e3",
        "upgrade: websocket\r\nconnection: upgrade", "range: bytes=0-" + ",0-" * 5000, "x\0y: z", "x y: z", ": z",
        "authorization: Bearer " + "a" * 20_000, "x-request-id: \x1b[31m", "last-event-id: " + "9" * 5000,
        "idempotency-key: " + "k" * 9000, "cookie: " + "a=b; " * 3000,
    )  # fmt: skip
    head = chance.choice(heads)
    method = chance.choice(("GET /v1/models", f"POST {PICTURES}"))
    sent = f"{method} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"
    sent += f"{head}\r\n\r\n"
    # A body that is announced and never comes is waited for, and that again and again.
    announced = head.startswith(("content-length", "transfer", "expect"))
    return Raw(f"head {head[:40]!r}", sent.encode("latin-1"), announced and chance.random() < 0.9)


def _framing(chance: random.Random) -> Raw:
    """Bodies whose length is told twice, wrongly, or in broken chunks."""
    head = f"POST {PICTURES} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    tails = (
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n" + "1\r\n{\r\n" * 5000, "content-length: 100000\r\n\r\n{",
        "content-length: 2\r\n\r\n{}{}{}GET / HTTP/1.1\r\n\r\n", "content-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n", "\r\n",
    )  # fmt: skip
    tail = chance.choice(tails)
    return Raw(f"framing {tail[:60]!r}", (head + tail).encode(), chance.random() < 0.9)


def _garbage(chance: random.Random) -> Raw:
    """What is not HTTP."""
    texts = (
        chance.randbytes(chance.choice((1, 100, 100_000))),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 10_000, b"",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n" * 300, b"SSH-2.0-x\r\n",
    )  # fmt: skip
    text = chance.choice(texts)
    return Raw(f"garbage {text[:30]!r}", text, chance.random() < 0.9)
