"""Media in a bucket, and media that workers make: the same files and the same manifest as on one machine."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import uuid
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from multigen.errors import MediaError, MultigenError
from multigen.generation.plan import Job, Plan
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.runs import bulk as module
from multigen.runs.bulk import One, listed_media
from multigen.runs.bulk_worker import MADE, Arguments, Worker
from multigen.runs.opened import open_model
from multigen.runs.sample import sample
from multigen.runs.sources import Sources
from multigen.storage.bucket import Remote, open_bucket
from tests.model.test_model import small

REQUESTS = [Request("3", steps=2), Request("4", steps=3, seed=50)]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small("image_digits").save(tmp_path_factory.mktemp("w") / "digits.safetensors"))


def make(source: str, out: Path | str, **more: Any) -> Path | str:
    return sample(source, requests=REQUESTS, n=2, out=out, device="cpu", quiet=True, **more)


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def fetched(address: str, folder: Path) -> Path:
    """A bucket as a folder."""
    fsspec.filesystem("memory").get(address.removeprefix("memory://"), str(folder), recursive=True)
    return folder


def assert_alike(one: Path, two: Path) -> None:
    """The same files, media within a level, and the same manifest but for the time."""
    shown = [sorted(p.name for p in folder.iterdir() if p.name != ".lock") for folder in (one, two)]
    assert shown[0] == shown[1]
    first, second = manifest(one), manifest(two)
    assert first["asked"] == second["asked"] and first["total"] == second["total"]
    differ = ("created", "sha256", "unsigned_sha256", "bytes")
    plain = [
        [{k: v for k, v in row.items() if k not in differ} for row in m["files"]] for m in (first, second)
    ]
    assert plain[0] == plain[1]
    for row in first["files"]:
        pictures = [np.asarray(Image.open(folder / row["file"]), dtype=int) for folder in (one, two)]
        assert abs(pictures[0] - pictures[1]).max() <= 1


def rows_here(left: Sequence[One], model: Model, arguments: Arguments) -> Iterator[dict[str, Any]]:
    """What Ray Data does, in this process: batches of two."""
    import pickle

    worker = Worker(arguments)
    for k in range(0, len(left), 2):
        batch = left[k : k + 2]
        rows = {"place": [o.place for o in batch], "id": [o.id for o in batch],
                "request": [pickle.dumps((o.request, o.source)) for o in batch]}  # fmt: skip
        yield from (json.loads(text) for text in worker(rows)["entry"])


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_rows", rows_here)


def test_a_bucket_holds_what_a_folder_would(digits: str, tmp_path: Path) -> None:
    address = f"memory://{uuid.uuid4().hex}/out"
    assert make(digits, address) == address
    make(digits, tmp_path / "folder")
    assert_alike(tmp_path / "folder", fetched(address, tmp_path / "bucket"))


def test_a_bucket_is_gone_on_with_and_never_replaced(digits: str, tmp_path: Path) -> None:
    address = f"memory://{uuid.uuid4().hex}/out"
    make(digits, address)
    bucket = open_bucket(address)
    before = bucket.rows("media/")
    lost = sorted(before)[1]
    bucket.delete(lost)
    make(digits, address, resume=True)
    after = bucket.rows("media/")
    assert sorted(after) == sorted(before)
    assert [name for name in after if after[name].modified != before[name].modified] == [lost]
    with pytest.raises(MultigenError, match="media of another command"):
        sample(digits, requests=[Request("5")], n=1, out=address, device="cpu", quiet=True)


def test_the_manifest_is_sent_last(digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    write = Remote.write

    def spy(self: Remote, name: str, content: bytes) -> None:
        if name == "manifest.json":
            listed = [row["file"] for row in json.loads(content)["files"]]
            assert set(listed) <= set(sent)
        sent.append(name)
        write(self, name, content)

    monkeypatch.setattr(Remote, "write", spy)
    make(digits, f"memory://{uuid.uuid4().hex}/out")
    assert len({name for name in sent if name.startswith("media/")}) == 4


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_workers_make_what_one_machine_makes(digits: str, kind: str, tmp_path: Path) -> None:
    make(digits, tmp_path / "one")
    place = tmp_path / "two" if kind == "folder" else f"memory://{uuid.uuid4().hex}/out"
    make(digits, place, ray=True)
    assert_alike(tmp_path / "one", place if isinstance(place, Path) else fetched(place, tmp_path / "two"))


@pytest.mark.usefixtures("workers")
def test_what_is_there_is_not_made_again(
    digits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(left: Sequence[One], model: Model, arguments: Arguments) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(rows_here(left, model, arguments)):
            if number == 2:  # the third is written; the command never hears of it
                raise MemoryError
            yield row

    monkeypatch.setattr(module, "_rows", dies)
    with pytest.raises(MemoryError):
        make(digits, tmp_path / "out", ray=True)
    assert len(list((tmp_path / "out" / MADE).iterdir())) == 4  # its whole batch is
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "media").iterdir()}
    monkeypatch.setattr(module, "_rows", rows_here)
    make(digits, tmp_path / "out", ray=True, resume=True)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "media").iterdir()} == before
    assert len(manifest(tmp_path / "out")["files"]) == 4 and not (tmp_path / "out" / MADE).exists()
    # One machine goes on with it as well: it is the same command.
    make(digits, tmp_path / "out", resume=True)


@pytest.mark.usefixtures("workers")
def test_requests_are_checked_one_at_a_time_and_those_that_are_made_not_again(
    digits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of models whose options name media, which a plan holds opened."""
    planned, refused = list[tuple[str, weakref.ref[Plan]]](), set[str]()
    inner = module.jobs

    def counted(model: Model, requests: Sequence[Request], n: int, seed: int) -> list[Job]:
        (job,) = inner(model, requests, n, seed)
        assert not any(ref() is not None for _, ref in planned)  # those before are gone
        planned.append((job.prompt, weakref.ref(job.plan)))
        if job.prompt in refused:
            raise MediaError("no")
        return [job]

    def dies(left: Sequence[One], model: Model, arguments: Arguments) -> Iterator[dict[str, Any]]:
        yield next(rows_here(left, model, arguments))
        raise MemoryError

    monkeypatch.setattr(module, "media_options", lambda recipe: frozenset({"clip"}))
    monkeypatch.setattr(module, "jobs", counted)
    refused.add("4")
    with pytest.raises(MediaError, match="^request 2: no$"):
        make(digits, tmp_path / "out", ray=True)
    assert not (tmp_path / "out").exists()
    refused.clear()
    planned.clear()
    monkeypatch.setattr(module, "_rows", dies)
    with pytest.raises(MemoryError):
        make(digits, tmp_path / "out", ray=True)
    assert [prompt for prompt, _ in planned] == ["3", "4"]
    planned.clear()
    monkeypatch.setattr(module, "_rows", rows_here)
    make(digits, tmp_path / "out", ray=True, resume=True)
    assert [prompt for prompt, _ in planned] == ["4"]  # both media of the first are there
    assert len(manifest(tmp_path / "out")["files"]) == 4


def test_ids_follow_from_request_seed_and_weights(digits: str) -> None:
    model = open_model(digits, (), "cpu")
    sources = Sources(Path("none"), REQUESTS)
    ones = listed_media(model, REQUESTS, 2, 7, sources)
    assert [(one.place, one.request.seed) for one in ones] == [(0, 7), (1, 8), (2, 50), (3, 51)]
    assert [one.id for one in ones] == [one.id for one in listed_media(model, REQUESTS, 2, 7, sources)]
    assert len({one.id for one in ones}) == 4
    others = listed_media(model, [Request("3", steps=3), REQUESTS[1]], 2, 7, sources)
    assert [a.id == b.id for a, b in zip(ones, others, strict=True)] == [False, False, True, True]


NO_RAY = "Ray is not installed: pip install -c constraints.txt -e '.[ray]'"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=NO_RAY)
def test_on_ray_after_kill_9(digits: str, tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": str(k % 10), "steps": 30}) for k in range(24)]
    (tmp_path / "requests.jsonl").write_text("\n".join(lines))
    argv = [sys.executable, "-m", "multigen", "sample", digits, "--prompts", str(tmp_path / "requests.jsonl")]
    argv += ["-n", "1", "--device", "cpu", "sample.batch=4", "--quiet"]
    out = tmp_path / "ray"
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen([*argv, "--ray", "--out", str(out)], stderr=log, start_new_session=True)
        end = time.monotonic() + 180
        while len(list((out / MADE).glob("*.json"))) < 4:
            assert first.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        time.sleep(2)  # workers notice that their command is gone
        kept = {p.name: p.stat().st_mtime_ns for p in (out / "media").glob("*.png")}
        made = len(list((out / MADE).glob("*.json")))
        assert 4 <= made < 24
        again = [*argv, "--ray", "--out", str(out), "--resume"]
        assert subprocess.run(again, stderr=log, timeout=300).returncode == 0, (tmp_path / "log").read_text()
        assert (
            subprocess.run([*argv, "--out", str(tmp_path / "one")], stderr=log, timeout=300).returncode == 0
        )
    now = {p.name: p.stat().st_mtime_ns for p in (out / "media").glob("*.png")}
    assert len(now) == 24 and sum(now.get(name) == when for name, when in kept.items()) >= made
    assert_alike(tmp_path / "one", out)
