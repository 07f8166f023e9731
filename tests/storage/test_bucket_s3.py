"""Buckets of S3, by s3fs, against a server that speaks as S3 does (moto)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from multigen.errors import MultigenError
from multigen.serving.engine.store import Store
from multigen.storage.bucket import open_bucket

# moto pulls many packages in: it may stand in an environment of its own, on the PATH or named here.
MOTO = os.environ.get("MOTO_SERVER") or shutil.which("moto_server")
NEEDED = "it needs s3fs (extra s3) and moto_server on the PATH: pip install 'moto[s3,server]'"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MOTO is None or importlib.util.find_spec("s3fs") is None, reason=NEEDED),
]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a bucket."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [str(MOTO), "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    more = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/media", method="PUT"), timeout=5)
                break
            except OSError:
                assert time.monotonic() < end and server.poll() is None
                time.sleep(0.2)
        yield "s3://media"
    finally:
        server.terminate()
        server.wait(10)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def test_files_by_name(bucket: str) -> None:
    one, two = open_bucket(f"{bucket}/a"), open_bucket(f"{bucket}/a")
    assert one.rows() == {} and one.seen("x") is None
    with pytest.raises(FileNotFoundError):
        one.read("x")
    one.write("x", b"12345")
    one.write("media/y", b"1")
    seen = two.seen("x")
    assert seen is not None and seen.size == 5 and abs(seen.modified - time.time()) < 5
    assert list(two.rows()) == ["x"] and list(two.rows("media/")) == ["media/y"]
    assert not two.create("x", b"other") and two.create("z", b"new") and one.read("x") == b"12345"
    two.delete("x")
    two.delete("x")
    assert list(one.rows()) == ["z"]  # nothing of an earlier listing is believed


def test_a_store(bucket: str) -> None:
    one, two = Store(f"{bucket}/store"), Store(f"{bucket}/store")
    assert one.secret() == two.secret()
    name = one.new_id("video")
    one.put(name, {"status": "completed"}, {".mp4": b"film"})
    assert two.names("video") == [name] and two.get(name) == {"status": "completed"}
    path = two.file(name, ".mp4")
    assert path is not None and path.read_bytes() == b"film"
    assert two.delete(name) and one.get(name) is None


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    with pytest.raises(MultigenError, match="--out s3://none/x: cannot be written to"):
        open_bucket("s3://none/x", "--out s3://none/x")


def test_media_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    from tests.model.test_model import small

    digits = small("image_digits").save(tmp_path / "digits.safetensors")
    address = f"{bucket}/digits"
    argv = [
        sys.executable,
        "-m",
        "multigen",
        "sample",
        str(digits),
        "--prompt",
        "3",
        "-n",
        "3",
        "--steps",
        "2",
    ]
    argv += ["--device", "cpu", "--quiet", "--out", address]
    for _ in range(2):  # the second finds all of it there
        done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0 and done.stdout.strip() == address, done.stderr
    there = open_bucket(address)
    assert set(there.rows()) == {"manifest.json", "preview.png", "report.html", "sampled.yaml"}
    assert len(there.rows("media/")) == 3
