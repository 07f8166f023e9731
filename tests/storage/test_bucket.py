"""Folders and buckets hold files alike: whole, by name, and made once where several try."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from multigen.errors import MultigenError
from multigen.storage.bucket import Bucket, check_address, is_address, open_bucket

PLACES = ("folder", "memory://", "file://")


@pytest.fixture(params=PLACES)
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    places: dict[str, Callable[[], str | Path]] = {
        "folder": lambda: tmp_path / "b",
        "memory://": lambda: f"memory://{uuid.uuid4().hex}/b",
        "file://": lambda: f"file://{tmp_path}/b",
    }
    place = places[request.param]()
    if request.param == "file://":
        (tmp_path / "b").mkdir()
    return open_bucket(place)


def test_files_by_name(bucket: Bucket) -> None:
    assert bucket.rows() == {} and bucket.seen("a") is None
    with pytest.raises(FileNotFoundError):
        bucket.read("a")
    bucket.write("a", b"one")
    bucket.write("a", b"three")
    assert bucket.read("a") == b"three"
    seen = bucket.seen("a")
    assert seen is not None and seen.size == 5 and abs(seen.modified - time.time()) < 5
    bucket.delete("a")
    bucket.delete("a")
    assert bucket.rows() == {}


def test_one_level_is_listed(bucket: Bucket) -> None:
    if bucket.where.startswith("file://"):
        os.mkdir(bucket.where.removeprefix("file://") + "/media")
    bucket.write("a.json", b"1")
    bucket.write("media/b.png", b"22")
    assert {name: seen.size for name, seen in bucket.rows().items()} == {"a.json": 1}
    assert {name: seen.size for name, seen in bucket.rows("media/").items()} == {"media/b.png": 2}
    assert bucket.rows("none/") == {}


def test_of_several_who_create_one_does(bucket: Bucket) -> None:
    made: list[bool] = []
    start = threading.Barrier(4)

    def create(number: int) -> None:
        start.wait()
        made.append(bucket.create("x", b"%d" % number))

    threads = [threading.Thread(target=create, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not bucket.where.startswith("memory://"):  # which knows no threads
        assert sorted(made) == [False, False, False, True]
    assert not bucket.create("x", b"again") and bucket.read("x") in (b"0", b"1", b"2", b"3")


def test_a_folder_never_shows_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = open_bucket(tmp_path)
    one.write("a", b"whole")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space"):
        one.write("a", b"half")
    assert one.read("a") == b"whole"


def test_what_a_dead_process_left_is_removed_and_what_is_new_stays(tmp_path: Path) -> None:
    old, new = tmp_path / ".part-old", tmp_path / ".part-new"
    old.write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (1, 1))
    assert open_bucket(tmp_path).rows() == {}
    assert not old.exists() and new.exists()


def test_a_file_system_without_links_creates_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", fails)
    one = open_bucket(tmp_path)
    assert one.create("a", b"1") and not one.create("a", b"2") and one.read("a") == b"1"


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_address("s3://x/y") and not is_address("runs/x") and not is_address(Path("s3://x"))
    with pytest.raises(MultigenError, match="--out nope://x: .*nope"):
        check_address("nope://x", "--out nope://x")

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("multigen.storage.bucket.url_to_fs", missing)
    with pytest.raises(MultigenError, match=r"s3:// needs a package that is missing: .*\[s3\]"):
        open_bucket("s3://bucket/x")


def test_a_bucket_that_cannot_be_written_to_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(13, "Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuses)
    with pytest.raises(MultigenError, match="--store memory://x: cannot be written to .Access Denied"):
        open_bucket("memory://x", "--store memory://x")
