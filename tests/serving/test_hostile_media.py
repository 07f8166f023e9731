"""Files that lie, burst, or are several things at once: one clear message each, soon, and little memory."""

# ruff: noqa: E501 (a file a line)
from __future__ import annotations

import base64
import gc
import gzip
import io
import struct
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.serving.servers import Running


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int = 28,
    height: int = 28,
    *extra: bytes,
    depth: int = 8,
    colour: int = 0,
    rows: bytes | None = None,
) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    rows = bytes((width + 1) * height) if rows is None else rows
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def saved(picture: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **more)
    return file.getvalue()


def wav(claimed: int, *, rate: int = 22050, channels: int = 1, bits: int = 16) -> bytes:
    align = channels * bits // 8
    form = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * align % 2**32, align % 2**16, bits
    )
    return (
        b"RIFF"
        + struct.pack("<I", claimed)
        + b"WAVE"
        + form
        + b"data"
        + struct.pack("<I", claimed)
        + bytes(2000)
    )


def archive(name: str = "../../etc/cron.d/x") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as one:
        one.writestr(name, bytes(10_000_000))
    return file.getvalue()


def mp4(width: int, height: int, seconds: int) -> bytes:
    """A movie header alone, with what it claims."""

    def box(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(data), kind) + data

    mvhd = struct.pack(">IIIII", 0, 0, 0, 1, seconds) + bytes(80)
    tkhd = (
        struct.pack(">IIIIII", 7, 0, 0, 1, 0, seconds)
        + bytes(52)
        + struct.pack(">II", width << 16, height << 16)
    )
    return box(b"ftyp", b"isom\0\0\2\0isomiso2") + box(
        b"moov", box(b"mvhd", mvhd) + box(b"trak", box(b"tkhd", tkhd))
    )


BOMB = zlib.compress(bytes(200_000_000), 9)
PICTURES: dict[str, bytes] = {
    "huge": png(60_000, 60_000, rows=b""),
    "2^31": png(2**31 - 1, 2**31 - 1, rows=b""),
    "nothing": png(0, 0, rows=b""),
    "long": png(1_000_000, 1, rows=bytes(1_000_001)),
    "data beyond its size": png(28, 28, rows=bytes(150_000_000)),
    "text bomb": png(28, 28, chunk(b"zTXt", b"a\0\0" + BOMB)),
    "profile bomb": png(28, 28, chunk(b"iCCP", b"a\0\0" + BOMB)),
    "chunk longer than the file": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**31 - 1, b"IHDR") + bytes(50),
    "wrong checksum": png()[:-30] + bytes(30),
    "truncated": png()[:45],
    "head alone": png()[:8],
    "many chunks": png(28, 28, *[chunk(b"tEXt", b"a\0b")] * 20_000),
    "16 bits truncated": png(28, 28, depth=16, rows=bytes(10)),
    "palette without one": png(28, 28, colour=3),
    "gif of a huge screen": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"," + bytes(20) + b";",
    "gif of many frames": saved(Image.new("P", (8, 8)), "GIF", save_all=True, append_images=[Image.new("P", (8, 8), k % 9) for k in range(2000)]),
    "bmp": b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
    "bmp of negative sides": b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, -5, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    "jpeg truncated": saved(Image.new("RGB", (64, 64)), "JPEG")[:200],
    "jpeg of 65535": b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9",
    "webp": b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WEBPVP8X" + bytes(10) + b"\xff" * 10,
    "tiff whose table points at itself": b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + struct.pack("<HHII", 256, 4, 1, 9) + struct.pack("<I", 8),
    "tiff of 2^32 entries": b"MM\0*" + struct.pack(">I", 8) + b"\xff" * 500,
    "avif": b"\0\0\0\x20ftypavif" + b"\xff" * 200,
    "svg": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg onload="alert(1)">&b;</svg>',
    "svg that includes": b'<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="file:///etc/passwd"/></svg>',
    "zip": archive(), "gzip": gzip.compress(bytes(5_000_000)), "html": b"<html><script>alert(1)</script>",
    "php in a gif": b"GIF89a<?php system($_GET['c']); ?>", "zip in a png": png() + archive(),
    "script in a png": png(28, 28, chunk(b"tEXt", b"a\0<script>alert(1)</script>")),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n", "pdf": b"%PDF-1.7\n",
    "icon": b"\0\0\1\0" + bytes(30), "nothing at all": b"", "zeros": bytes(100_000), "a sound": wav(2000),
    "pickle": b"\x80\x04\x95cos\nsystem\n(S'id'\ntR.", "mvg": b"push graphic-context\nimage over 0,0 0,0 '|id'\n",
}  # fmt: skip
SOUNDS: dict[str, bytes] = {
    "claims 4 GB": wav(2**32 - 1), "claims nothing": wav(0), "rate 0": wav(2000, rate=0),
    "rate 2^32-1": wav(2000, rate=2**32 - 1), "no channels": wav(2000, channels=0),
    "65535 channels": wav(2000, channels=65535), "255 bits": wav(2000, bits=255), "head alone": wav(2000)[:12],
    "flac of 2^36 samples": b"fLaC\x80\0\0\x22" + b"\x10\0\x10\0" + bytes(6) + b"\x05\x62\x20\xff\xff\xff\xff\xff" + bytes(16),
    "flac of a long block": b"fLaC\x84\xff\xff\xff" + bytes(100), "ogg": b"OggS" + b"\xff" * 300, "mp3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(300),
    "mp3 of noise": b"\xff\xfb" + bytes(range(256)) * 40, "aac": b"\xff\xf1" + b"\xff" * 400,
    "movie": mp4(64, 64, 10**9), "a picture": png(), "matroska": b"\x1aE\xdf\xa3" + b"\xff" * 200, "playlist": b"#EXTM3U\nhttp://127.0.0.1:9/x\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
}  # fmt: skip
CLIPS: dict[str, bytes] = {
    "huge": mp4(65535, 65535, 10), "endless": mp4(16, 16, 2**31 - 1), "head alone": mp4(16, 16, 1)[:24],
    "box of 0": mp4(16, 16, 1) + bytes(8), "box that is longer": mp4(16, 16, 1) + struct.pack(">I4s", 2**31, b"mdat"),
    "deep boxes": b"\0\0\0\x14ftypisom\0\0\2\0isom" + b"".join(struct.pack(">I4s", 8 * k, b"moov") for k in range(5000, 0, -1)),
    "gif of many frames": PICTURES["gif of many frames"], "a sound": wav(2000), "playlist": SOUNDS["playlist"],
    "avi": b"RIFF" + struct.pack("<I", 2**32 - 1) + b"AVI LIST" + b"\xff" * 200, "huge picture": PICTURES["huge"],
}  # fmt: skip
FAKE = {"headers": {"content-type": "image/png"}}


def sent(served: Running, path: str, member: str, content: bytes, kind: str, **more: Any) -> httpx.Response:
    begun = time.monotonic()
    form = {"prompt": "7", "steps": "1", **more.pop("data", {})}
    files = {member: ("../../../etc/x.png", content, kind), **more}
    answer = httpx.post(f"{served.url}{path}", data=form, files=files, timeout=30)
    assert time.monotonic() - begun < 15
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert (
            error["message"].startswith((f"{member}: ", "mask: ", "the form", "the medium: "))
            and len(error["message"]) < 600
        ), error
        assert "/tmp" not in error["message"] and "multigen-upload" not in error["message"], error
        assert "Traceback" not in error["message"] and answer.headers["x-request-id"]
    return answer


# What a decoder may make sense of all the same.
READABLE = {
    "zip in a png",
    "script in a png",
    "many chunks",
    "text bomb",
    "profile bomb",
    "gif of many frames",
    "data beyond its size",
    "palette without one",
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(served: Running, name: str) -> None:
    answer = sent(served, "/v1/images/edits", "image", PICTURES[name], "image/png")
    assert answer.status_code in ((200, 400) if name in READABLE else (400, 413, 415)), answer.text[:200]
    if answer.status_code == 200:  # nothing of it but pixels comes back
        assert b"<script" not in base64.b64decode(answer.json()["data"][0]["b64_json"])


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds(served: Running, name: str) -> None:
    data = {"prompt": "flute"}
    answer = sent(served, "/v1/audio/edits", "audio", SOUNDS[name], "audio/wav", data=data)
    readable = name in ("claims 4 GB", "claims nothing", "65535 channels", "mp3 of noise", "aac")
    assert answer.status_code in (400, 413, 415) or (readable and answer.status_code == 200), answer.text[
        :200
    ]


@pytest.mark.parametrize("name", CLIPS)
def test_clips(served: Running, name: str) -> None:
    data = {"prompt": "panda"}
    answer = sent(served, "/v1/videos", "input_reference", CLIPS[name], "video/mp4", data=data)
    assert answer.status_code in (400, 413, 415) or (name.startswith("gif") and answer.status_code == 200)
    if answer.status_code == 200:
        httpx.delete(f"{served.url}/v1/videos/{answer.json()['id']}")


def mask_of(mode: str, size: tuple[int, int]) -> bytes:
    values = np.asarray(Image.fromarray(np.tri(28, dtype=np.uint8) * 255).resize(size))
    if mode == "I":
        return saved(Image.fromarray(values.astype(np.int32) * 257), "TIFF")
    if mode == "I;16":
        return saved(Image.fromarray(values.astype(np.uint16) * 257))
    return saved(Image.fromarray(values).convert(mode), "TIFF" if mode in ("CMYK", "F") else "PNG")


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I", "I;16")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(28, 28), (3, 700), (1, 1)])
def test_masks_of_every_mode_and_size(served: Running, mode: str, size: tuple[int, int]) -> None:
    mask = mask_of(mode, size)
    answer = sent(served, "/v1/images/edits", "image", png(), "image/png", mask=("m", mask, "x/y"))
    assert answer.status_code == 200, answer.text


def test_masks_that_are_none(served: Running) -> None:
    for content in (b"", b"x", PICTURES["huge"], PICTURES["truncated"], wav(2000), PICTURES["svg"]):
        answer = sent(
            served, "/v1/images/edits", "image", png(), "image/png", mask=("m", content, "image/png")
        )
        assert answer.status_code in (400, 415) and answer.json()["error"]["param"] == "mask"


@pytest.mark.parametrize("text", ["", "!", "data:image/png,x", "data:;base64,", "data:image/png;base64,AAAA", "file:///etc/passwd",
    "http://127.0.0.1/x.png", "HTTPS://x", "javascript:1", "gopher://x", "A" * 3_000_000, "\u2028", "AAAA\0", "//evil/x"])  # fmt: skip
def test_media_of_jobs_that_are_none(served: Running, text: str) -> None:
    body = {"model": "digits", "prompt": "3", "steps": 1, "edit": {"media": text}}
    answer = httpx.post(f"{served.url}/v1/jobs", json=body)
    assert answer.status_code in (400, 413, 415), answer.text
    assert answer.json()["error"]["param"] == "edit.media" and len(answer.text) < 1000


def test_all_of_it_leaves_nothing(served: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither memory nor files of uploads."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def upload() -> None:
        for content in PICTURES.values():
            sent(served, "/v1/images/edits", "image", content, "image/png")

    upload()
    before = psutil.Process().memory_info().rss
    upload()
    until = time.monotonic() + 15  # a request ends a little after its answer
    while gc.collect() >= 0 and list(tmp_path.glob("multigen-upload-*")) and time.monotonic() < until:
        time.sleep(0.05)
    assert psutil.Process().memory_info().rss - before < 200e6
    assert list(tmp_path.glob("multigen-upload-*")) == []
