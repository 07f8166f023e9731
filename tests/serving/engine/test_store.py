"""The store: records and files for a while, in a folder or a bucket."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from multigen.serving.engine import store as module
from multigen.serving.engine.store import Store
from multigen.storage.bucket import Folder, Remote, Seen


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "s" if request.param == "folder" else f"memory://{uuid.uuid4().hex}/s"


def test_records_and_files_survive_a_restart(place: Path | str) -> None:
    one = Store(place)
    name = one.new_id("video")
    one.put(name, {"a": "é"}, {".mp4": b"film"})
    two = Store(place)
    assert two.get(name) == {"a": "é"} and two.names("video") == [name] and two.names("job") == []
    path = two.file(name, ".mp4")
    assert path is not None and path.read_bytes() == b"film"
    assert two.file(name, ".webp") is None and two.read(name, ".webp") is None
    assert two.delete(name) and not two.delete(name)
    assert one.get(name) is None and one.file(name, ".mp4") is None


def test_servers_of_one_store_share_a_secret(place: Path | str) -> None:
    first = Store(place).secret()
    assert len(first) == 32 and Store(place).secret() == first


def test_of_two_servers_one_creates_a_record(place: Path | str) -> None:
    one, two = Store(place), Store(place)
    assert one.create("job_12345678", {"by": 1}) and not two.create("job_12345678", {"by": 2})
    assert two.get("job_12345678") == {"by": 1}
    assert two.claim("job_12345678", ".c1", b"") and not one.claim("job_12345678", ".c1", b"")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a", "x" * 65, "video_../x", "key.secret", ""])
def test_no_name_of_a_client_is_a_path(place: Path | str, name: str) -> None:
    one = Store(place)
    one.secret()
    assert one.get(name) is None and one.file(name, ".json") is None and one.read(name, ".json") is None
    assert not one.delete(name)
    with pytest.raises(ValueError, match="no suffix"):
        one.put("job_12345678", {}, {"/../x": b""})


def test_the_oldest_go_beyond_the_bound(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIDY", 0.0)
    one = Store(place, limit=2500)
    one.secret()
    names = []
    for _ in range(4):
        names.append(one.new_id("file"))
        one.put(names[-1], {}, {".png": b"x" * 1000})
        time.sleep(0.02)
    assert [one.get(name) is not None for name in names] == [False, False, True, True]
    assert len(one.secret()) == 32


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    one = Store(tmp_path, ttl=60)
    name = one.new_id("file")
    one.put(name, {}, {".png": b"x"})
    for path in tmp_path.glob("file_*"):
        os.utime(path, (time.time() - 61,) * 2)
    assert one.get(name) is None and list(tmp_path.glob("file_*")) == []


def test_a_bucket_is_not_listed_with_each_record(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Store(f"memory://{uuid.uuid4().hex}/s", limit=1)
    first, second = one.new_id("file"), one.new_id("file")
    one.put(first, {})  # the first time, it is
    one.put(second, {})
    assert one.get(first) is None and one.get(second) is not None


def test_a_folder_is_listed_where_the_bound_may_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, rows = list[str](), Folder.rows

    def counted(self: Folder, prefix: str = "") -> dict[str, Seen]:
        listed.append(prefix)
        return rows(self, prefix)

    monkeypatch.setattr(Folder, "rows", counted)
    one = Store(tmp_path, limit=50_000)
    for _ in range(60):
        one.put(one.new_id("file"), {}, {".png": b"x" * 1000})
    assert 2 <= len(listed) <= 10
    sizes = [path.stat().st_size for path in tmp_path.glob("file_*")]
    assert 45_000 < sum(sizes) <= 50_000


def test_what_cannot_be_read_is_not_taken_for_missing(
    place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Store(place)
    one.put("job_12345678", {"a": 1})

    def refused(self: Folder | Remote, name: str) -> bytes:
        raise PermissionError(name)

    for kind in (Folder, Remote):
        monkeypatch.setattr(kind, "read", refused)
    with pytest.raises(PermissionError):
        one.get("job_12345678")


def test_copies_from_a_bucket_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FETCHED", 1500)
    one = Store(f"memory://{uuid.uuid4().hex}/s")
    paths = []
    for _ in range(3):
        name = one.new_id("file")
        one.put(name, {}, {".png": b"x" * 1000})
        paths.append(one.file(name, ".png"))
        time.sleep(0.02)
    assert [path is not None and path.exists() for path in paths] == [False, False, True]
